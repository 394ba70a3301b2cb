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

// TestALongerIntervalMidFlight makes the interval longer while keys are handed
// out: what is offered is what the new schedule gives the key, from the first
// answer on, and no answer has an Expiration that has passed or is about to.
func TestALongerIntervalMidFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var policy atomic.Pointer[plan.Policy]
		policy.Store(&plan.Policy{RotateEvery: 20 * time.Second, DeactivateAfter: 26 * time.Second, DeleteAfter: 35 * time.Second, Settle: time.Second})
		h := newHouse("ci")
		policyOf := func(string) plan.Policy { return *policy.Load() }
		h.Policy = policyOf
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store, Policy: policyOf}
		time.Sleep(47*time.Second + 300*time.Millisecond)
		policy.Store(&plan.Policy{RotateEvery: time.Hour, DeactivateAfter: 72 * time.Minute, DeleteAfter: 90 * time.Minute})
		seen := map[time.Time]bool{}
		for start := time.Now(); time.Since(start) < 100*time.Minute; time.Sleep(499 * time.Millisecond) {
			c, err := d.Give(t.Context(), "ci", rotate.Recipient{})
			if err != nil {
				t.Fatalf("Give() = %v", err)
			}
			if left := time.Until(c.Expiration.Truncate(time.Second)); left < 30*time.Second {
				t.Fatalf("after %s, %s is handed out for another %s", time.Since(start), c.KeyID, left)
			}
			if !h.works(c) {
				t.Fatalf("%s is refused %s before its Expiration", c.KeyID, time.Until(c.Expiration))
			}
			seen[c.Expiration] = true
		}
		if len(seen) > 4 {
			t.Errorf("%d different Expirations in 100 minutes, want one for each key", len(seen))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
