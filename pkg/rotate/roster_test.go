package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// rosterStore counts what is read of it.
type rosterStore struct {
	rotatetest.MemStore
	costly bool
	asked  int
	read   int // entries
	err    error
}

func (s *rosterStore) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	s.asked++
	if s.err != nil {
		return rotate.Changes{}, s.err
	}
	if s.costly {
		mark = 0
	}
	c, err := s.MemStore.Changes(ctx, mark)
	c.Costly = s.costly
	s.read += len(c.Entries)
	return c, err
}

func (*rosterStore) List(context.Context) ([]rotate.Entry, error) {
	return nil, errors.New("the whole store was listed")
}

// rosterOf is a roster over n users whose keys are good for another minute.
func rosterOf(t *testing.T, n int) (*rotate.Roster, *rosterStore, *time.Time) {
	t.Helper()
	now := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	s := &rosterStore{}
	for i := range n {
		k := plan.Held{ID: fmt.Sprintf("AKIA%d", i), Stage: plan.Current, Slot: now, Created: now, Promoted: now}
		saveRecord(t, s, plan.Record{User: fmt.Sprintf("u%05d", i), Enrolled: now, Slot: now, Keys: []plan.Held{k}}, now.Add(time.Minute))
	}
	policy := func(string) plan.Policy { return plan.Policy{} }
	return &rotate.Roster{Store: s, Policy: policy, Now: func() time.Time { return now }}, s, &now
}

func saveRecord(t *testing.T, s *rosterStore, r plan.Record, due time.Time) {
	t.Helper()
	old, err := s.Load(t.Context(), r.User)
	if err != nil && !errors.Is(err, rotate.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), rotate.Entry{Record: r, Due: due, Version: old.Version}); err != nil {
		t.Fatal(err)
	}
}

func overview(t *testing.T, r *rotate.Roster) rotate.Overview {
	t.Helper()
	o, err := r.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRosterReadsOnlyWhatHasChanged(t *testing.T) {
	r, s, now := rosterOf(t, 5000)
	if o := overview(t, r); o.Users != 5000 || o.Serving != 5000 || o.States[rotate.IsOK] != 5000 || !o.Next.Equal(now.Add(time.Minute)) {
		t.Errorf("Overview = %+v", o)
	}
	s.read = 0
	for i := range 100 {
		*now = now.Add(time.Second)
		e, err := s.Load(t.Context(), fmt.Sprintf("u%05d", 7*i))
		if err != nil {
			t.Fatal(err)
		}
		e.Record.Failures = 1
		saveRecord(t, s, e.Record, e.Due)
		if o := overview(t, r); o.States[rotate.IsFailing] != i+1 {
			t.Fatalf("after %d saves: %+v", i+1, o)
		}
	}
	if s.read != 100 {
		t.Errorf("100 looks at a store with 100 changes read %d entries, want 100", s.read)
	}
	*now = now.Add(time.Second)
	e, _ := s.Load(t.Context(), "u00000")
	if err := s.Remove(t.Context(), "u00000", e.Version); err != nil {
		t.Fatal(err)
	}
	if o := overview(t, r); o.Users != 4999 || o.States[rotate.IsFailing] != 99 {
		t.Errorf("after a removal: %+v", o)
	}
}

func TestRosterIsAskedByManyForOne(t *testing.T) {
	r, s, now := rosterOf(t, 3)
	for range 20 {
		overview(t, r)
	}
	if s.asked != 1 {
		t.Errorf("20 looks within a second asked the store %d times, want 1", s.asked)
	}
	*now = now.Add(-time.Hour) // the clock was corrected
	overview(t, r)
	if s.asked != 2 {
		t.Errorf("after the clock was corrected the store was asked %d times, want 2", s.asked)
	}
}

// A store that can only be read as a whole is not read every second.
func TestRosterSparesACostlyStore(t *testing.T) {
	for _, c := range []struct{ users, perMinute int }{{3, 60}, {1000, 6}, {20000, 2}} {
		r, s, now := rosterOf(t, c.users)
		s.costly = true
		for range 60 {
			overview(t, r)
			*now = now.Add(time.Second)
		}
		if s.asked != c.perMinute {
			t.Errorf("with %d users it was read %d times a minute, want %d", c.users, s.asked, c.perMinute)
		}
	}
}

func TestRosterPages(t *testing.T) {
	r, s, now := rosterOf(t, 120)
	e, _ := s.Load(t.Context(), "u00077")
	e.Record.Waiting = plan.NoRoom
	saveRecord(t, s, e.Record, e.Due)
	var seen []string
	for after := ""; ; {
		p, err := r.Page(t.Context(), rotate.Filter{}, after, 50)
		if err != nil {
			t.Fatal(err)
		}
		if p.Matches != 120 || p.Users != 120 {
			t.Fatalf("page after %q: %d of %d", after, p.Matches, p.Users)
		}
		for _, e := range p.Entries {
			seen = append(seen, e.Record.User)
		}
		if !p.More {
			break
		}
		after = seen[len(seen)-1]
	}
	if len(seen) != 120 || !slices.IsSorted(seen) {
		t.Errorf("the pages showed %d users, want all 120 in order", len(seen))
	}
	*now = now.Add(12 * time.Minute) // everybody is late
	for name, c := range map[string]struct {
		f    rotate.Filter
		want int
	}{
		"a part of the name, in any case": {rotate.Filter{Text: "U0001"}, 10},
		"a state":                         {rotate.Filter{State: rotate.IsLate}, 120},
		"a state that nobody is in":       {rotate.Filter{State: rotate.IsPaused}, 0},
	} {
		if p, err := r.Page(t.Context(), c.f, "", 50); err != nil || p.Matches != c.want || p.Users != 120 {
			t.Errorf("%s: %d of %d, %v, want %d", name, p.Matches, p.Users, err, c.want)
		}
	}
}

func TestRosterNamesTheLatestFirst(t *testing.T) {
	r, s, now := rosterOf(t, 40)
	for i := range 3 { // the one with the earliest slot is the latest
		e, _ := s.Load(t.Context(), fmt.Sprintf("u%05d", 30+i))
		e.Record.Keys[0].Slot = now.Add(-time.Duration(i+1) * time.Hour)
		saveRecord(t, s, e.Record, e.Due)
	}
	e, _ := s.Load(t.Context(), "u00031")
	e.Record.Pause = &plan.Pause{Since: *now}
	saveRecord(t, s, e.Record, e.Due)
	late, err := r.Latest(t.Context(), 2)
	if err != nil || len(late) != 2 || late[0].Record.User != "u00032" || late[1].Record.User != "u00030" {
		t.Errorf("Latest = %v, %v, want u00032 and u00030: u00031 is paused", late, err)
	}
}

// A store that fails is reported, with what was known; one caller that leaves
// says nothing about it.
func TestRosterOfAStoreThatFails(t *testing.T) {
	r, s, now := rosterOf(t, 3)
	overview(t, r)
	s.err = errors.New("disk is gone")
	*now = now.Add(time.Second)
	all, _, err := r.All(t.Context())
	if len(all) != 3 || err == nil {
		t.Errorf("All = %d users, %v, want what was known and an error", len(all), err)
	}
	s.err = nil
	*now = now.Add(time.Second)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Overview(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Overview of a caller that has left = %v", err)
	}
	if o := overview(t, r); o.Users != 3 {
		t.Errorf("after that: %+v", o)
	}
}
