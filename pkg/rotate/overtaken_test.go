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

// standstill lets no key be made while it is on.
type standstill struct{ on atomic.Bool }

func (s *standstill) Wait(ctx context.Context, call rotate.Call) error {
	if s.on.Load() && call == rotate.CreateAccessKey {
		<-ctx.Done()
	}
	return ctx.Err()
}

// TestABurnDoesNotWaitForTheKeyThatIsDue: the user's pass waits for its turn to
// make a key when the one that is served is burned. It ends in time although no
// replacement can be made.
func TestABurnDoesNotWaitForTheKeyThatIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		pace := &standstill{}
		pace.on.Store(true)
		h.Pace = pace
		h.Policy = func(string) plan.Policy { return plan.Policy{Phase: plan.PhaseOf("ci", 10*time.Minute)} }
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		slot := leaked.Expiration
		time.Sleep(time.Until(slot)) // its pass waits since before that
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		time.Sleep(70 * time.Second)
		if h.works(leaked) {
			t.Error("the leaked key works 70 s after the burn, want a minute at most")
		}
		pace.on.Store(false)
		time.Sleep(time.Minute)
		if got := h.give(t, "ci"); !h.works(got) {
			t.Error("there is no replacement a minute after one can be made")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestReadersDoNotWaitForTheKeyThatIsDue: nor do readers of a target, which
// have to be told a later Expiration meanwhile.
func TestReadersDoNotWaitForTheKeyThatIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		pace := &standstill{}
		h.Pace = pace
		h.run(t, time.Minute)
		pace.on.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		for range 50 {
			time.Sleep(time.Minute)
			if held := b.of("ci"); !held.Expiration.After(time.Now()) {
				t.Fatalf("the target holds a key whose Expiration was %s ago, while another waits to be made", time.Since(held.Expiration))
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// busy is an account whose calls are all used up by others.
type busy struct{ rotate.IAM }

func (busy) Create(context.Context, string) (plan.Key, rotate.Secret, error) {
	return plan.Key{}, rotate.Secret{}, rotate.ErrThrottled
}
func (busy) SetStatus(context.Context, string, string, plan.Status) error { return rotate.ErrThrottled }
func (busy) Delete(context.Context, string, string) error                 { return rotate.ErrThrottled }

// TestACommandThatIsThrottledGivesWayToTheDaemon: a daemon makes use of all that
// IAM allows, so that the command that burns a key never has its turn. The daemon
// does it, before its other calls.
func TestACommandThatIsThrottledGivesWayToTheDaemon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(10 * time.Second)
		command := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: busy{h.aws}, Store: h.store, Select: h.Select, Owner: "command"}
		order, err := command.Order(ctx, "ci", plan.Order{Kind: plan.Burn})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := command.Obey(ctx, "ci", order, 5*time.Minute); err != nil {
			t.Errorf("Obey() = %v", err)
		}
		if took := time.Since(began); took > 30*time.Second || h.works(leaked) {
			t.Errorf("the burn took %s, and the leaked key works: %v; want it done within 30 s", took, h.works(leaked))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
