package rotatetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

const leaseTTL = time.Minute

func testLease(t *testing.T, s rotate.Store) {
	acquire := func(user, owner string, d time.Duration) error {
		_, err := s.Acquire(t.Context(), user, owner, at(d), leaseTTL)
		return err
	}
	wantErr(t, "first Acquire", acquire("ann", "p1", 0), nil)
	wantErr(t, "Acquire of a held lease", acquire("ann", "p2", time.Second), rotate.ErrLeased)
	wantErr(t, "Acquire of another user's lease", acquire("bob", "p2", time.Second), nil)
	wantErr(t, "foreign Release", s.Release(t.Context(), "ann", "p2"), nil)
	wantErr(t, "Acquire after a foreign Release", acquire("ann", "p2", time.Second), rotate.ErrLeased)
	wantErr(t, "Release", s.Release(t.Context(), "ann", "p1"), nil)
	wantErr(t, "second Release", s.Release(t.Context(), "ann", "p1"), nil)
	wantErr(t, "Acquire after Release", acquire("ann", "p2", time.Second), nil)
}

func testLeaseExpiry(t *testing.T, s rotate.Store) {
	acquire := func(owner string, d time.Duration) error {
		_, err := s.Acquire(t.Context(), "ann", owner, at(d), leaseTTL)
		return err
	}
	wantErr(t, "first Acquire", acquire("p1", 0), nil)
	wantErr(t, "extension", acquire("p1", 30*time.Second), nil)
	wantErr(t, "Acquire before the extended end", acquire("p2", 90*time.Second-1), rotate.ErrLeased)
	wantErr(t, "Acquire at the end", acquire("p2", 90*time.Second), nil)
	wantErr(t, "Acquire by the owner that lost it", acquire("p1", 91*time.Second), rotate.ErrLeased)
	wantErr(t, "late Release by the owner that lost it", s.Release(t.Context(), "ann", "p1"), nil)
	wantErr(t, "Acquire after the late Release", acquire("p1", 92*time.Second), rotate.ErrLeased)
}

// testLeaseBesideSaves is about a lease and an entry that know of each other:
// others save promises and orders while somebody holds the lease.
func testLeaseBesideSaves(t *testing.T, s rotate.Store) {
	acquire := func(owner string, d time.Duration) (int64, error) {
		return s.Acquire(t.Context(), "ann", owner, at(d), leaseTTL)
	}
	if v, err := acquire("p1", 0); v != 0 || err != nil {
		t.Fatalf("Acquire for a user without an entry = %d, %v, want 0", v, err)
	}
	_, err := s.Load(t.Context(), "ann")
	wantErr(t, "Load of a user that has a lease only", err, rotate.ErrNotFound)
	if l, err := s.List(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("List beside a lease = %v, %v, want nobody", l, err)
	}
	e := mustSave(t, s, entry("ann"))
	if v, err := acquire("p1", 1); v != e.Version || err != nil {
		t.Errorf("Acquire = %d, %v, want the entry's version %d", v, err, e.Version)
	}
	_, err = acquire("p2", 2)
	wantErr(t, "Acquire after the holder's save", err, rotate.ErrLeased)
	e = mustSave(t, s, e) // by somebody else
	_, err = acquire("p2", 3)
	wantErr(t, "Acquire after another's save", err, rotate.ErrLeased)
	if d := diff(e, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("beside a lease (-want +got):\n%s", d)
	}
	leave := func(owner string) error {
		e := e
		e.Leave = owner
		_, err := s.Save(t.Context(), e)
		return err
	}
	wantErr(t, "a save that gives a lease up that it does not hold", leave("p2"), nil)
	_, err = acquire("p2", 4)
	wantErr(t, "Acquire after that", err, rotate.ErrLeased)
	wantErr(t, "a refused save that gives the lease up", leave("p1"), rotate.ErrConflict)
	_, err = acquire("p2", 5)
	wantErr(t, "Acquire after a refused save", err, rotate.ErrLeased)
	e = mustLoad(t, s, "ann")
	if e.Leave != "" {
		t.Errorf("Load returns who gave the lease up: %q", e.Leave)
	}
	wantErr(t, "a save that gives the lease up", leave("p1"), nil)
	e = mustLoad(t, s, "ann")
	if v, err := acquire("p2", 6); v != e.Version || err != nil {
		t.Errorf("Acquire after that = %d, %v, want %d", v, err, e.Version)
	}
	wantErr(t, "Remove under a lease", s.Remove(t.Context(), "ann", e.Version), nil)
	_, err = acquire("p1", 7)
	wantErr(t, "Acquire after Remove under a lease", err, rotate.ErrLeased)
	_, err = s.Load(t.Context(), "ann")
	wantErr(t, "Load after Remove under a lease", err, rotate.ErrNotFound)
	mustSave(t, s, entry("ann"))
	_, err = acquire("p1", 8)
	wantErr(t, "Acquire after a new entry", err, rotate.ErrLeased)
}

func testConcurrentLease(t *testing.T, s rotate.Store) {
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch _, err := s.Acquire(t.Context(), "ann", fmt.Sprint("p", i), at(0), leaseTTL); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, rotate.ErrLeased):
				t.Errorf("Acquire = %v, want nil or %v", err, rotate.ErrLeased)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d acquired the lease, want 1", n)
	}
}

func testNames(t *testing.T, s rotate.Store) {
	for _, user := range []string{"a", "A", "a%", "a_", "a'--", "a/b", "a.b@c+d=e,f", "ä"} {
		mustSave(t, s, entry(user))
	}
	for _, user := range []string{"a", "A", "a%", "a_", "a'--", "a/b", "a.b@c+d=e,f", "ä"} {
		if got := mustLoad(t, s, user).Record.User; got != user {
			t.Errorf("Load(%q) = the entry of %q", user, got)
		}
	}
}

func testCancelled(t *testing.T, s rotate.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Save(ctx, entry("ann"))
	wantErr(t, "Save with a cancelled context", err, context.Canceled)
	_, err = s.Load(t.Context(), "ann")
	wantErr(t, "Load after a cancelled Save", err, rotate.ErrNotFound)
}
