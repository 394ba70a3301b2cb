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
		return s.Acquire(t.Context(), user, owner, at(d), leaseTTL)
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
		return s.Acquire(t.Context(), "ann", owner, at(d), leaseTTL)
	}
	wantErr(t, "first Acquire", acquire("p1", 0), nil)
	wantErr(t, "extension", acquire("p1", 30*time.Second), nil)
	wantErr(t, "Acquire before the extended end", acquire("p2", 90*time.Second-1), rotate.ErrLeased)
	wantErr(t, "Acquire at the end", acquire("p2", 90*time.Second), nil)
	wantErr(t, "Acquire by the owner that lost it", acquire("p1", 91*time.Second), rotate.ErrLeased)
	wantErr(t, "late Release by the owner that lost it", s.Release(t.Context(), "ann", "p1"), nil)
	wantErr(t, "Acquire after the late Release", acquire("p1", 92*time.Second), rotate.ErrLeased)
}

func testConcurrentLease(t *testing.T, s rotate.Store) {
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch err := s.Acquire(t.Context(), "ann", fmt.Sprint("p", i), at(0), leaseTTL); {
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
