package rotatetest

import (
	"maps"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// copier makes deep copies of entries. What the copies point to comes from a
// few large pieces of memory, because a store in memory does little else.
type copier struct {
	keys    []plan.Held
	intents []plan.Intent
	marks   []plan.Tombstone
	words   []string
	targets []plan.Target
}

// entry copies e with all that it points to. A field of a reference type that
// is added to the record must be added here; a test finds it missing.
func (c *copier) entry(e rotate.Entry) rotate.Entry {
	e.Secrets = maps.Clone(e.Secrets) // a Secret is immutable
	r := &e.Record
	r.Keys = piece(&c.keys, r.Keys)
	for i := range r.Keys {
		r.Keys[i].HeldBy = piece(&c.words, r.Keys[i].HeldBy)
	}
	r.Intents = piece(&c.intents, r.Intents)
	for i := range r.Intents {
		r.Intents[i].Seen = piece(&c.words, r.Intents[i].Seen)
	}
	r.Gone = piece(&c.marks, r.Gone)
	r.Orphans = piece(&c.marks, r.Orphans)
	r.Foreign = piece(&c.words, r.Foreign)
	r.Targets = piece(&c.targets, r.Targets)
	if r.Order = clonePtr(r.Order); r.Order != nil {
		r.Order.Lost = piece(&c.words, r.Order.Lost)
	}
	r.Pause = clonePtr(r.Pause)
	return e
}

// piece copies s into the memory that from has, or into more, with no room to
// grow into what is beside it.
func piece[T any](from *[]T, s []T) []T {
	if s == nil {
		return nil
	}
	n := len(*from)
	*from = append(*from, s...)
	return (*from)[n:len(*from):len(*from)]
}

func clonePtr[T plan.Order | plan.Pause](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
