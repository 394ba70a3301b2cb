package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// A tick lists the store once, and sees what it saved itself.
func TestATickListsOnce(t *testing.T) {
	t.Parallel()
	lists := 0
	mem := &rotatetest.MemStore{Before: func(op, _ string) error {
		if op == rotatetest.OpList {
			lists++
		}
		return nil
	}}
	save := func(s rotate.Store, user string, version int64, due time.Time) int64 {
		t.Helper()
		v, err := s.Save(t.Context(), rotate.Entry{Record: plan.Record{User: user}, Version: version, Due: due, Leave: "me"})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	ann, bob := save(mem, "ann", 0, now), save(mem, "bob", 0, now)
	s := &tickStore{Store: mem}
	want := func(when string, n int, users ...rotate.Entry) {
		t.Helper()
		got, err := s.List(t.Context())
		if err != nil || lists != n {
			t.Errorf("%s: the store was listed %d times, %v, want %d", when, lists, err, n)
		}
		if d := cmp.Diff(users, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
	}
	entry := func(user string, version int64, due time.Time) rotate.Entry {
		return rotate.Entry{Record: plan.Record{User: user}, Version: version, Due: due}
	}
	want("first", 1, entry("ann", ann, now), entry("bob", bob, now))
	v, later := save(s, "bob", bob, now.Add(time.Minute)), now.Add(time.Minute)
	cyd := save(s, "cyd", 0, now)
	save(mem, "ann", ann, later) // by another process
	want("after saves", 1, entry("ann", ann, now), entry("bob", v, later), entry("cyd", cyd, now))
	if err := s.Remove(t.Context(), "cyd", cyd); err != nil {
		t.Fatal(err)
	}
	want("after a removal", 1, entry("ann", ann, now), entry("bob", v, later))
	s.begin()
	if got, err := s.List(t.Context()); err != nil || lists != 2 || !got[0].Due.Equal(later) {
		t.Errorf("the next tick sees %v, %v", got, err)
	}
}
