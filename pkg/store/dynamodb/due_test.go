package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

func wantDue(t *testing.T, when string, s *Store, want ...string) {
	t.Helper()
	got, err := s.Due(t.Context(), now, false, 10)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: Due = %v, %v, want %v", when, got, err, want)
	}
}

// saveAt saves the user as it is stored, due at d from now.
func saveAt(t *testing.T, s *Store, user string, d time.Duration) {
	t.Helper()
	e, err := s.Load(t.Context(), user)
	if errors.Is(err, rotate.ErrNotFound) {
		e, err = entry(user), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Due = now.Add(d)
	if _, err := s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// What one process saves, another finds: at once if it is due earlier than it
// was going to be, otherwise within a minute. The index holds nothing else.
func TestDueOfOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		a, b := store(t, f), store(t, f)
		indexed := func(when string, want bool) {
			t.Helper()
			if got := f.items["entry\x00ann"][attrQueue] != nil; got != want {
				t.Errorf("%s: the user is in the index: %t, want %t", when, got, want)
			}
		}
		wantDue(t, "nobody", b)
		saveAt(t, a, "ann", -time.Minute)
		wantDue(t, "a new user", b, "ann")
		saveAt(t, a, "ann", time.Minute)
		indexed("after a rotation", false)
		wantDue(t, "after a rotation, here", a)
		if _, err := b.Load(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		wantDue(t, "once it was loaded", b)
		saveAt(t, a, "ann", -time.Second) // an order
		indexed("after an order", true)
		wantDue(t, "after an order", b, "ann")
		saveAt(t, a, "ann", -time.Second) // the intent, for example
		indexed("while it is carried out", true)
		saveAt(t, a, "ann", time.Minute)
		indexed("when it was carried out", false)

		saveAt(t, b, "bob", time.Minute)
		saveAt(t, a, "bob", 2*time.Minute) // b does not know
		time.Sleep(dueAge)
		if due, err := b.Due(t.Context(), now.Add(90*time.Second), false, 10); err != nil || !slices.Equal(due, []string{"ann"}) {
			t.Errorf("Due after a minute = %v, %v, want what was saved meanwhile", due, err)
		}
		e, err := a.Load(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Remove(t.Context(), "ann", e.Version); err != nil {
			t.Fatal(err)
		}
		time.Sleep(dueAge)
		if due, err := b.Due(t.Context(), now.Add(time.Hour), false, 10); err != nil || !slices.Equal(due, []string{"bob"}) {
			t.Errorf("Due after a removal = %v, %v, want the other", due, err)
		}
	})
}

// After the first time, no call reads more than a page of the table.
func TestDueReadsPageByPage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range 7 {
			saveAt(t, store(t, f), fmt.Sprint("u", i), time.Hour)
		}
		s, pages := store(t, f), 0
		query := s.API.Query
		s.API.Query = func(ctx context.Context, in *ddb.QueryInput, o ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
			if in.IndexName == nil {
				pages++
			}
			return query(ctx, in, o...)
		}
		for i, want := range []int{4, 0, 0} {
			wantDue(t, "at first", s)
			if pages != want {
				t.Errorf("call %d read %d pages, want %d", i, pages, want)
			}
			pages = 0
		}
		for _, user := range []string{"u0", "u6"} {
			saveAt(t, store(t, f), user, -time.Second)
			delete(f.items["entry\x00"+user], attrQueue) // it is the reading that must find it
		}
		time.Sleep(dueAge)
		for i, want := range [][]string{{"u0"}, {"u0"}, {"u0"}, {"u0", "u6"}, {"u0", "u6"}} {
			wantDue(t, fmt.Sprint("after a minute, call ", i), s, want...)
			if pages != min(1, 4-i) {
				t.Errorf("call %d read %d pages", i, pages)
			}
			pages = 0
		}
		// Whoever reads all users meanwhile saves the rest.
		time.Sleep(dueAge)
		wantDue(t, "the first page", s, "u0", "u6")
		if _, err := s.Changes(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		pages = 0
		wantDue(t, "after everybody was read", s, "u0", "u6")
		if pages != 0 {
			t.Errorf("after everybody was read, a call read %d pages", pages)
		}
	})
}

// What is read in the course of a save does not replace what was saved.
func TestDueIsNotOlderThanOwnSaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := store(t, f)
		saveAt(t, s, "ann", -time.Second)
		query := s.API.Query
		s.API.Query = func(ctx context.Context, in *ddb.QueryInput, o ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
			out, err := query(ctx, in, o...)
			s.API.Query = query
			time.Sleep(time.Millisecond)
			saveAt(t, s, "ann", time.Minute)
			saveAt(t, s, "bob", time.Minute) // is not in the answer
			return out, err
		}
		if _, err := s.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		if due, err := s.Due(t.Context(), now.Add(time.Hour), false, 10); err != nil || !slices.Equal(due, []string{"ann", "bob"}) {
			t.Errorf("Due = %v, %v, want both, as they were saved", due, err)
		}
		wantDue(t, "now", s)
	})
}

func TestPack(t *testing.T) {
	t.Parallel()
	record := []byte(`{"user":"` + strings.Repeat("ann", 500) + `","keys":[{"id":"AKIA1","stage":"Current"}]}`)
	got, err := unpack(pack(record))
	if err != nil || !bytes.Equal(got, record) {
		t.Errorf("unpack(pack) = %q, %v", got, err)
	}
	for _, b := range [][]byte{{}, {1, 2, 3}, pack(record)[:20]} {
		if _, err := unpack(b); !errors.Is(err, content.ErrCorrupt) {
			t.Errorf("unpack(%x) = %v, want %v", b, err, content.ErrCorrupt)
		}
	}
	f := newFake()
	s, e := store(t, f), entry("ann")
	e.Record.Error = strings.Repeat("throttled ", 100) // long
	if e.Version, err = s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if it := f.items["entry\x00ann"]; it[attrPacked] == nil || it[attrRecord] != nil {
		t.Error("a long record is not packed")
	}
	if got, err := s.Load(t.Context(), "ann"); err != nil || got.Record.Error != e.Record.Error {
		t.Errorf("Load = %v, %v", got.Record, err)
	}
	if l, err := s.List(t.Context()); err != nil || len(l) != 1 || l[0].Record.Error != e.Record.Error {
		t.Errorf("List = %v, %v", l, err)
	}
	e.Record.Error = ""
	if _, err := s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if it := f.items["entry\x00ann"]; it[attrPacked] != nil || it[attrRecord] == nil {
		t.Error("a short record is not readable")
	}
}

// A lease that ended, and was taken by another process, is not given up with a
// save of the first one, which succeeds if nothing else has changed.
func TestSaveGivesUpNoOthersLease(t *testing.T) {
	t.Parallel()
	s := store(t, newFake())
	e := entry("ann")
	var err error
	if e.Version, err = s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		owner string
		at    time.Duration
	}{{"first", 0}, {"second", time.Minute}} {
		if _, err := s.Acquire(t.Context(), "ann", p.owner, now.Add(p.at), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	e.Leave = "first"
	if _, err := s.Save(t.Context(), e); err != nil {
		t.Errorf("Save = %v", err)
	}
	if _, err := s.Acquire(t.Context(), "ann", "first", now.Add(time.Minute), time.Minute); !errors.Is(err, rotate.ErrLeased) {
		t.Errorf("Acquire = %v, want %v", err, rotate.ErrLeased)
	}
}
