package rotate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestALeaseOfWhoDiedIsShort: on a schedule of seconds nobody waits a minute for
// a process that was killed, and on every one others wait until what it has sent
// cannot have an effect any more.
func TestALeaseOfWhoDiedIsShort(t *testing.T) {
	for _, c := range []struct{ every, lasts time.Duration }{
		{8 * time.Second, 8 * time.Second}, {20 * time.Second, 20 * time.Second}, {10 * time.Minute, time.Minute}, {90 * 24 * time.Hour, time.Minute},
	} {
		t.Run(c.every.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.Policy = func(string) plan.Policy {
					return plan.Policy{RotateEvery: c.every, DeactivateAfter: c.every * 3 / 2, DeleteAfter: c.every * 7 / 4}
				}
				store := &leases{Store: h.store}
				h.Store = store
				h.turn(t, rotate.Options{})
				p := h.Policy("").WithDefaults()
				if over := p.Over(time.Time{}).Sub(time.Time{}); store.longest != c.lasts || store.longest/2 < over {
					t.Errorf("a lease lasts %s, want %s, and half of it at least the %s that a lost call may take", store.longest, c.lasts, over)
				}
			})
		})
	}
}

// leases notes the longest lease that was asked for.
type leases struct {
	rotate.Store
	longest time.Duration
}

func (l *leases) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	l.longest = max(l.longest, ttl)
	return l.Store.Acquire(ctx, user, owner, now, ttl)
}

// TestALeaseWhoseAnswerIsLostIsGivenUp: the caller has left, or the store's answer
// was lost, and the lease was taken all the same. The next process finds it free.
func TestALeaseWhoseAnswerIsLostIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		ctx, cancel := context.WithCancel(t.Context())
		h.Store = &lostLease{Store: h.store, leave: cancel}
		if rep, err := h.RunOnce(ctx, rotate.Options{}); err == nil && changed(rep) {
			t.Errorf("a pass without a lease did %q", actions(rep.Users[0]))
		}
		if _, err := h.store.Acquire(t.Context(), "ci", "other", time.Now(), time.Minute); err != nil {
			t.Errorf("the next process: Acquire = %v, want the lease", err)
		}
	})
}

// lostLease takes leases and loses the answer, because the caller leaves.
type lostLease struct {
	rotate.Store
	leave func()
}

func (l *lostLease) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	if _, err := l.Store.Acquire(ctx, user, owner, now, ttl); err != nil {
		return 0, err
	}
	l.leave()
	return 0, ctx.Err()
}

// mortalStore is the store as a process sees it that is killed.
type mortalStore struct {
	rotate.Store
	dead atomic.Bool
}

func (s *mortalStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if s.dead.Load() {
		return rotate.Entry{}, errCrash
	}
	return s.Store.Load(ctx, user)
}

func (s *mortalStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	if s.dead.Load() {
		return 0, errCrash
	}
	return s.Store.Save(ctx, e)
}

func (s *mortalStore) Release(ctx context.Context, user, owner string) error {
	if s.dead.Load() {
		return errCrash
	}
	return s.Store.Release(ctx, user, owner)
}

// killed has a process die in the middle of the first call that op is, after which
// its lease stays, and returns the process that goes on.
func (h *house) killed(t *testing.T, op rotatetest.Op, dead func() []string) *rotate.Rotator {
	t.Helper()
	mortal := &mortalStore{Store: h.store}
	ctx, die := context.WithTimeout(t.Context(), time.Hour)
	defer die()
	h.Store = mortal
	h.aws.Fault = func(called rotatetest.Op, _, _ string) rotatetest.Fault {
		if called != op || mortal.dead.Load() {
			return rotatetest.None
		}
		mortal.dead.Store(true)
		die()
		return rotatetest.After
	}
	_ = h.Run(ctx)
	if !mortal.dead.Load() {
		t.Fatalf("there was no %s", op)
	}
	h.aws.Fault = nil
	return &rotate.Rotator{Clock: h.Clock, IAM: h.aws, Store: h.store, Owner: "heir", Log: h.Log, Select: h.Select, Policy: h.Policy, Dead: dead}
}

// TestTheLeaseOfWhoIsGone: a process of the same machine that is gone for certain
// holds nobody up. One that may still be there, or on another machine, does, until
// its lease ends.
func TestTheLeaseOfWhoIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		op     rotatetest.Op
		dead   func() []string
		within time.Duration // a step is taken
	}{
		"deactivation":      {rotatetest.UpdateKey, func() []string { return []string{"somebody", "test"} }, 0},
		"deletion":          {rotatetest.DeleteKey, func() []string { return []string{"test"} }, 0},
		"proof":             {rotatetest.CallerIdentity, func() []string { return []string{"test"} }, 0},
		"another is gone":   {rotatetest.UpdateKey, func() []string { return []string{"somebody"} }, time.Minute},
		"nobody is":         {rotatetest.UpdateKey, func() []string { return nil }, time.Minute},
		"that is not known": {rotatetest.UpdateKey, nil, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h, _, _ := twoKeys(t)
				heir := h.killed(t, c.op, c.dead)
				since := time.Now()
				for !h.moves(t, heir) {
					if time.Sleep(time.Second); time.Since(since) > 5*time.Minute {
						t.Fatal("nobody goes on")
					}
				}
				if took := time.Since(since).Round(10 * time.Second); took != c.within {
					t.Errorf("another process goes on after %s, want %s", took, c.within)
				}
			})
		})
	}
}

// moves reports whether a pass took a step.
func (h *house) moves(t *testing.T, r *rotate.Rotator) bool {
	t.Helper()
	rep, err := r.RunOnce(t.Context(), rotate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return changed(rep)
}
