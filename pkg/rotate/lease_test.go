package rotate_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
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
