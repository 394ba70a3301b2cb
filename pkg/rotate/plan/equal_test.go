package plan

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// TestEqualSeesEveryField changes one field after the other.
func TestEqualSeesEveryField(t *testing.T) {
	fill := func() *Record {
		var r Record
		change(t, reflect.ValueOf(&r).Elem(), "", func(string, func(), func()) {})
		return &r
	}
	a, b := fill(), fill()
	if !a.Equal(b) {
		t.Fatalf("Equal(%+v, %+v) = false, want true", a, b)
	}
	if c := a.Clone(); !a.Equal(&c) {
		t.Errorf("a copy is not equal to %+v", a)
	}
	n := 0
	change(t, reflect.ValueOf(b).Elem(), "Record", func(name string, spoil, heal func()) {
		n++
		if spoil(); a.Equal(b) || b.Equal(a) {
			t.Errorf("Equal does not see that %s differs", name)
		}
		if heal(); !a.Equal(b) {
			t.Errorf("Equal sees a difference after %s is the same again", name)
		}
	})
	if n < 60 {
		t.Errorf("only %d fields were changed", n)
	}
}

// TestEqualIsAsStored: what differs in memory only does not count.
func TestEqualIsAsStored(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	a := &Record{Slot: at, Keys: []Held{{ID: "A"}}}
	b := &Record{Slot: at.In(time.FixedZone("CET", 3600)), Keys: []Held{{ID: "A", HeldBy: []string{}}}, Foreign: []string{}, Gone: []Tombstone{}}
	if !a.Equal(b) {
		t.Errorf("Equal(%+v, %+v) = false, want true", a, b)
	}
}

// change sets whatever is zero in v, one element for each list, and calls seen
// for each leaf with what changes it and what changes it back.
func change(t *testing.T, v reflect.Value, name string, seen func(name string, spoil, heal func())) {
	t.Helper()
	leaf := func(other any) {
		was, to := reflect.New(v.Type()).Elem(), reflect.ValueOf(other).Convert(v.Type())
		was.Set(v)
		seen(name, func() { v.Set(to) }, func() { v.Set(was) })
	}
	switch at := v.Interface().(type) {
	case time.Time:
		if at.IsZero() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
		}
		leaf(at.Add(time.Nanosecond))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			change(t, v.Field(i), fmt.Sprintf("%s.%s", name, v.Type().Field(i).Name), seen)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		leaf(reflect.Zero(v.Type()).Interface())
		change(t, v.Index(0), name+"[0]", seen)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		leaf(reflect.Zero(v.Type()).Interface())
		change(t, v.Elem(), name, seen)
	case reflect.String:
		v.SetString("x")
		leaf("y")
	case reflect.Int:
		v.SetInt(1)
		leaf(2)
	case reflect.Bool:
		v.SetBool(true)
		leaf(false)
	default:
		t.Fatalf("%s is of kind %s", name, v.Kind())
	}
}
