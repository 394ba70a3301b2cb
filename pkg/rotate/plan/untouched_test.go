package plan

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// untouched reports whether a and b, which were one record, are so still, to the
// last bit: [Record.Equal], and also the same representation of each time and
// list. It sees what reflect.DeepEqual sees, many times faster.
func untouched(a, b *Record) bool {
	return a.Equal(b) &&
		[...]time.Time{a.Enrolled, a.Slot, a.Served, a.Released, a.Since, a.RetryAt} ==
			[...]time.Time{b.Enrolled, b.Slot, b.Served, b.Released, b.Since, b.RetryAt} &&
		(a.Keys == nil) == (b.Keys == nil) && same(a.Keys, b.Keys, func(a, b *Held) bool {
		return slices.Equal(a.times(), b.times()) && (a.HeldBy == nil) == (b.HeldBy == nil)
	}) &&
		(a.Intents == nil) == (b.Intents == nil) && same(a.Intents, b.Intents, func(a, b *Intent) bool {
		return a.At == b.At && a.Until == b.Until && a.Slot == b.Slot && (a.Seen == nil) == (b.Seen == nil)
	}) &&
		identical(a.Gone, b.Gone) && identical(a.Orphans, b.Orphans) && identical(a.Foreign, b.Foreign) && identical(a.Targets, b.Targets) &&
		samePtr(a.Order, b.Order, func(a, b *Order) bool { return a.At == b.At && (a.Lost == nil) == (b.Lost == nil) }) &&
		samePtr(a.Pause, b.Pause, func(a, b *Pause) bool { return *a == *b })
}

func identical[T comparable](a, b []T) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

// TestUntouchedSeesWhatDeepEqualSees spoils each field: with another value, each
// time with another zone and each list by being empty instead of none.
func TestUntouchedSeesWhatDeepEqualSees(t *testing.T) {
	t.Parallel()
	fill := func() *Record {
		var r Record
		change(t, reflect.ValueOf(&r).Elem(), "", func(string, func(), func()) {})
		return &r
	}
	a, b := fill(), fill()
	compare := func(what string) {
		t.Helper()
		if got, want := untouched(a, b), reflect.DeepEqual(a, b); got != want {
			t.Errorf("%s: untouched = %t, want %t", what, got, want)
		}
	}
	compare("the same")
	n := 0
	change(t, reflect.ValueOf(b).Elem(), "Record", func(name string, spoil, heal func()) {
		n++
		spoil()
		compare(name)
		heal()
		compare(name + " as before")
	})
	represent(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "Record", func(name string) {
		n++
		compare(name)
	})
	if n < 110 {
		t.Errorf("only %d fields were changed", n)
	}
}

// represent gives each time in b another zone, and makes each list none in a and
// empty in b, calls seen, and puts them back.
func represent(a, b reflect.Value, name string, seen func(name string)) {
	if at, ok := b.Interface().(time.Time); ok {
		b.Set(reflect.ValueOf(at.In(time.FixedZone("CET", 3600))))
		seen(name + " in another zone")
		b.Set(reflect.ValueOf(at))
		return
	}
	switch b.Kind() {
	case reflect.Struct:
		for i := range b.NumField() {
			represent(a.Field(i), b.Field(i), name+"."+b.Type().Field(i).Name, seen)
		}
	case reflect.Slice:
		represent(a.Index(0), b.Index(0), name+"[0]", seen)
		wasA, wasB := reflect.New(a.Type()).Elem(), reflect.New(b.Type()).Elem()
		wasA.Set(a)
		wasB.Set(b)
		a.SetZero()
		b.Set(reflect.MakeSlice(b.Type(), 0, 0))
		seen(name + " empty instead of none")
		a.Set(wasA)
		b.Set(wasB)
	case reflect.Pointer:
		represent(a.Elem(), b.Elem(), name, seen)
	}
}
