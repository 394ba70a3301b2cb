package rotatetest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestMemStore(t *testing.T) {
	t.Parallel()
	TestStore(t, func(*testing.T) rotate.Store { return new(MemStore) })
	TestSettings(t, func(*testing.T) rotate.Settings { return new(MemStore) })
	TestHandouts(t, func(*testing.T) rotate.Handouts { return new(MemStore) })
}

func TestMemStoreFaults(t *testing.T) {
	t.Parallel()
	fault := errors.New("fault")
	var op string
	s := &MemStore{Before: func(o, user string) error { op = o + " " + user; return fault }}
	_, err := s.Save(t.Context(), entry("ann"))
	wantErr(t, "Save failing before", err, fault)
	if op != "save ann" {
		t.Errorf("Before saw %q", op)
	}
	s.Before = nil
	_, err = s.Load(t.Context(), "ann")
	wantErr(t, "Load after a Save that failed before", err, rotate.ErrNotFound)

	s.After = func(string, string) error { return fault }
	v, err := s.Save(t.Context(), entry("ann"))
	wantErr(t, "Save failing after", err, fault)
	if v != 0 {
		t.Errorf("Save failing after = %d, want 0", v)
	}
	e, err := s.Load(t.Context(), "ann")
	wantErr(t, "Load failing after", err, fault)
	if e.Record.User != "" {
		t.Error("Load failing after returned the entry")
	}
	s.After = nil
	if mustLoad(t, s, "ann").Version == 0 {
		t.Error("a Save that failed after took no effect")
	}
}

// TestCloneIsDeep fills every field that a record can have and looks for
// memory that the copy shares with it.
func TestCloneIsDeep(t *testing.T) {
	t.Parallel()
	e := rotate.Entry{Secrets: map[string]rotate.Secret{}}
	fill(reflect.ValueOf(&e.Record).Elem())
	c := new(copier).entry(e)
	if d := diff(e, c); d != "" {
		t.Errorf("copy differs (-want +got):\n%s", d)
	}
	shared(t, "Record", reflect.ValueOf(e.Record), reflect.ValueOf(c.Record))
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() && v.Type().PkgPath() != "time" {
				fill(v.Field(i))
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	default: // holds no reference
	}
}

func shared(t *testing.T, path string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Pointer, reflect.Map:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		if a.Kind() == reflect.Pointer {
			shared(t, path, a.Elem(), b.Elem())
		}
	case reflect.Slice:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		shared(t, path+"[0]", a.Index(0), b.Index(0))
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().PkgPath() != "time" {
				shared(t, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
			}
		}
	default: // holds no reference
	}
}
