package rotate_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// odd is an IAM that acknowledges deactivations without doing them while deaf
// is set, and does nothing at all while lost is.
type odd struct {
	rotate.IAM
	deaf atomic.Bool
	lost atomic.Pointer[error]
}

func (o *odd) fail(err error) { o.lost.Store(&err) }

func (o *odd) err() error {
	if e := o.lost.Load(); e != nil {
		return *e
	}
	return nil
}

func (o *odd) Keys(ctx context.Context, user string) ([]plan.Key, error) {
	if err := o.err(); err != nil {
		return nil, err
	}
	return o.IAM.Keys(ctx, user)
}

func (o *odd) SetStatus(ctx context.Context, user, id string, s plan.Status) error {
	if err := o.err(); err != nil {
		return err
	}
	if o.deaf.Load() {
		return nil
	}
	return o.IAM.SetStatus(ctx, user, id, s)
}

func (h *house) mustOrder(t *testing.T, o plan.Order) plan.Order {
	t.Helper()
	o, err := h.Order(t.Context(), "ci", o)
	if err != nil {
		t.Fatalf("Order(%+v) = %v", o, err)
	}
	return o
}

func (h *house) record(t *testing.T) plan.Record {
	t.Helper()
	e, err := h.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	return e.Record
}

// TestBurnKeepsItsTime: an operator in a hurry repeats the command, and must
// not thereby keep the leaked key active.
func TestBurnKeepsItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey {
				return rotatetest.Before // no replacement can be had
			}
			return rotatetest.None
		}
		began := time.Now()
		for range 8 {
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
			h.run(t, 10*time.Second)
		}
		for _, k := range h.record(t).Keys {
			if k.ID == leaked.KeyID && (k.Deactivated.IsZero() || k.Deactivated.Sub(began) > 62*time.Second) {
				t.Errorf("a burn that was repeated every 10 s made the key inactive after %s, want a minute after the first order", k.Deactivated.Sub(began))
			}
		}
		if h.works(leaked) {
			t.Error("the leaked key still works")
		}
	})
}

// TestBurnStandsBesideOtherOrders: what is ordered later does not undo it, and
// of two leaked keys both die.
func TestBurnStandsBesideOtherOrders(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, cur := twoKeys(t)
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: old.KeyID})
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: cur.KeyID})
		h.mustOrder(t, plan.Order{Kind: plan.Force})
		h.run(t, time.Minute)
		if h.works(old) || h.works(cur) {
			t.Errorf("leaked keys still work: %v, %v", h.works(old), h.works(cur))
		}
		if got := h.give(t, "ci"); got.KeyID == old.KeyID || got.KeyID == cur.KeyID || !h.works(got) {
			t.Error("there is no replacement")
		}
	})
}

// TestBurnWithAPreviousKeyThatSomebodyMadeInactive: the record takes it for a
// key that works, IAM's list does not; its slot is needed.
func TestBurnWithAPreviousKeyThatSomebodyMadeInactive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, leaked := twoKeys(t)
		h.aws.Switch("ci", old.KeyID, plan.Inactive)
		h.order(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		if h.works(leaked) {
			t.Error("the leaked key still works")
		}
		if got := h.give(t, "ci"); got.KeyID == leaked.KeyID || got.KeyID == old.KeyID || !h.works(got) {
			t.Error("there is no replacement, although an inactive key could make room")
		}
	})
}

// TestBurnIsDoneWhenAWSRefusesTheKey: an acknowledgement is not enough, and
// what was acknowledged in vain is repeated.
func TestBurnIsDoneWhenAWSRefusesTheKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		iam := &odd{IAM: h.aws}
		h.IAM = iam
		h.turn(t, rotate.Options{})
		leaked := h.give(t, "ci")
		iam.deaf.Store(true)
		o := h.mustOrder(t, plan.Order{Kind: plan.Burn})
		_, err := h.Obey(t.Context(), "ci", o, time.Minute)
		if !errors.Is(err, rotate.ErrOrderOpen) || !strings.Contains(err.Error(), "AWS still accepted it") {
			t.Errorf("Obey() = %v, want %v and that AWS still accepted the key", err, rotate.ErrOrderOpen)
		}
		if !h.works(leaked) || h.record(t).Order == nil {
			t.Fatal("the test has shown nothing")
		}
		iam.deaf.Store(false)
		if _, err := h.Obey(t.Context(), "ci", o, time.Minute); err != nil {
			t.Errorf("Obey() once IAM does what it says = %v", err)
		}
		if h.works(leaked) {
			t.Error("the leaked key still works")
		}
	})
}

// TestBurnOfAKeyThatLingers: for some seconds AWS accepts what is inactive.
func TestBurnOfAKeyThatLingers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		h.aws.OldKey = rotatetest.Delay{Min: 5 * time.Second, Max: 8 * time.Second, Flap: 3 * time.Second}
		h.order(t, plan.Order{Kind: plan.Burn})
		for range 100 {
			if h.works(leaked) {
				t.Fatal("burn said done while some of AWS accepted the key")
			}
		}
	})
}

// TestACommandWithoutCredentialsLeavesTheOrderToTheDaemon: it ends at once, and
// what it could not do does not delay a daemon that can.
func TestACommandWithoutCredentialsLeavesTheOrderToTheDaemon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		for _, lacking := range []error{rotate.ErrNoIdentity, rotate.ErrDenied, errors.New("no route to host")} {
			iam := &odd{IAM: h.aws}
			iam.fail(lacking)
			command := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: iam, Store: h.store, Owner: "command"}
			o, err := command.Order(t.Context(), "ci", plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := command.Obey(t.Context(), "ci", o, 5*time.Second); !errors.Is(err, rotate.ErrOrderOpen) || !errors.Is(err, lacking) {
				t.Errorf("Obey() = %v, want %v and %v", err, rotate.ErrOrderOpen, lacking)
			}
			if took := time.Since(began); errors.Is(lacking, rotate.ErrNoIdentity) && took > 0 {
				t.Errorf("the command waited for %s without credentials", took)
			}
			if r := h.record(t); r.Failures != 0 || !r.RetryAt.IsZero() || r.Error != "" || r.Order == nil {
				t.Errorf("after %q the record has failures %d, retry at %s, error %q, order %v", lacking, r.Failures, r.RetryAt, r.Error, r.Order)
			}
		}
		h.run(t, 5*time.Second)
		if h.works(leaked) || h.record(t).Order != nil {
			t.Error("the daemon did not burn the key at once")
		}
	})
}

// TestADaemonThatCannotActDelaysNoOther: two daemons share a store, and one of
// them is not allowed to do anything.
func TestADaemonThatCannotActDelaysNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		iam := &odd{IAM: h.aws}
		iam.fail(rotate.ErrDenied)
		lame := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: iam, Store: h.store, Owner: "lame", Select: h.Select}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+30*time.Second)
		defer cancel()
		done := make(chan error, 2)
		go func() { done <- lame.Run(ctx) }()
		go func() { done <- h.Run(ctx) }()
		time.Sleep(5 * time.Minute)
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		time.Sleep(10 * time.Second)
		if h.works(leaked) {
			t.Error("the leaked key works 10 s after the order, although one daemon can act")
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAnOrderEndsADaemonsRest: after an outage that made the daemon wait longer
// and longer, an order does not wait with it.
func TestAnOrderEndsADaemonsRest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		iam := &odd{IAM: h.aws}
		h.IAM = iam
		h.turn(t, rotate.Options{})
		leaked := h.give(t, "ci")
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(9 * time.Minute)
		iam.fail(errors.New("no route to host"))
		time.Sleep(20*time.Minute + 500*time.Millisecond)
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		iam.lost.Store(nil)
		time.Sleep(12 * time.Second)
		if h.works(leaked) {
			t.Error("the leaked key works 12 s after the order")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
