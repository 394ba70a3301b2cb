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
