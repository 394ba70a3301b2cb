// Package recent keeps what was used last under a bound: the oldest makes room
// for the newest.
package recent

import "container/list"

// Map holds at most Max values. It is not safe for concurrent use. The zero
// value with a Max is ready.
type Map[K comparable, V any] struct {
	Max int

	byKey map[K]*list.Element
	order list.List // of pair, oldest first
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// Get returns the value of the key. It does not make it newer.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	e, ok := m.byKey[key]
	if !ok {
		return value, false
	}
	return e.Value.(pair[K, V]).value, true
}

// Put makes value the key's, and the newest of all.
func (m *Map[K, V]) Put(key K, value V) {
	if m.byKey == nil {
		m.byKey = make(map[K]*list.Element)
	}
	m.Drop(key)
	m.byKey[key] = m.order.PushBack(pair[K, V]{key, value})
	for m.order.Len() > max(m.Max, 1) {
		m.dropOldest()
	}
}

// Drop forgets the key.
func (m *Map[K, V]) Drop(key K) {
	if e, ok := m.byKey[key]; ok {
		m.order.Remove(e)
		delete(m.byKey, key)
	}
}

// DropOldest forgets values, the oldest first, as long as over says so.
func (m *Map[K, V]) DropOldest(over func(V) bool) {
	for e := m.order.Front(); e != nil && over(e.Value.(pair[K, V]).value); e = m.order.Front() {
		m.dropOldest()
	}
}

func (m *Map[K, V]) dropOldest() { m.Drop(m.order.Front().Value.(pair[K, V]).key) }

// Len returns how many values there are.
func (m *Map[K, V]) Len() int { return m.order.Len() }
