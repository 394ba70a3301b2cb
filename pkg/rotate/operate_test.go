package rotate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// oneKey is a house in which ci has its first key.
func oneKey(t *testing.T) (*house, rotate.Credential) {
	t.Helper()
	h := newHouse("ci")
	h.turn(t, rotate.Options{})
	return h, h.give(t, "ci")
}

// twoKeys is a house in which ci has a Current key and a Previous one that
// still works.
func twoKeys(t *testing.T) (h *house, old, cur rotate.Credential) {
	t.Helper()
	h, old = oneKey(t)
	h.turn(t, rotate.Options{Force: true})
	cur = h.give(t, "ci")
	if old.KeyID == cur.KeyID {
		t.Fatal("there is no second key")
	}
	return h, old, cur
}

func (h *house) works(c rotate.Credential) bool { return h.aws.Use(c.KeyID, c.Secret.Reveal()) == nil }

func (h *house) order(t *testing.T, o plan.Order) rotate.UserReport {
	t.Helper()
	rep, err := h.Obey(t.Context(), "ci", h.mustOrder(t, o), 2*time.Minute)
	if err != nil {
		t.Fatalf("Obey() = %v", err)
	}
	return rep
}

func TestRollbackGoesBackAndFreezes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, cur := twoKeys(t)
		h.order(t, plan.Order{Kind: plan.Rollback, Reason: "vendor"})
		got := h.give(t, "ci")
		if got.KeyID != old.KeyID || !h.works(got) {
			t.Errorf("after the rollback %s is handed out (works: %v), want %s", got.KeyID, h.works(got), old.KeyID)
		}
		if !h.works(cur) {
			t.Error("the newer key was taken away by the rollback")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci"); got.KeyID != old.KeyID || !h.works(got) {
			t.Error("the user was not frozen by the rollback")
		}
		if err := h.Resume(t.Context(), "ci", "test"); err != nil {
			t.Fatal(err)
		}
		ctx2, cancel2 := context.WithTimeout(t.Context(), time.Hour)
		defer cancel2()
		if err := h.Run(ctx2); err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci"); got.KeyID == old.KeyID || !h.works(got) {
			t.Error("rotation did not go on after the resumption")
		}
	})
}

func TestRollbackReactivates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, _ := twoKeys(t)
		time.Sleep(12 * time.Minute)
		h.turn(t, rotate.Options{})
		if h.works(old) {
			t.Fatal("the old key still works after its time")
		}
		h.order(t, plan.Order{Kind: plan.Rollback})
		if got := h.give(t, "ci"); got.KeyID != old.KeyID || !h.works(got) {
			t.Errorf("after the rollback %s is handed out, want %s, reactivated", got.KeyID, old.KeyID)
		}
	})
}

func TestRollbackWithoutPrevious(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		if _, err := h.Order(t.Context(), "ci", plan.Order{Kind: plan.Rollback}); !errors.Is(err, rotate.ErrNothingToRollBack) {
			t.Errorf("Order(rollback) = %v, want %v", err, rotate.ErrNothingToRollBack)
		}
		if _, err := h.Order(t.Context(), "nobody", plan.Order{Kind: plan.Rollback}); !errors.Is(err, rotate.ErrNotManaged) {
			t.Errorf("Order(rollback) of an unknown user = %v, want %v", err, rotate.ErrNotManaged)
		}
	})
}

func TestBurnReplacesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		began := time.Now()
		h.order(t, plan.Order{Kind: plan.Burn})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the leaked key worked for another %s with a healthy AWS", took)
		}
		if h.works(leaked) {
			t.Error("the leaked key still works")
		}
		if got := h.give(t, "ci"); got.KeyID == leaked.KeyID || !h.works(got) {
			t.Error("there is no replacement")
		}
		if keys := h.aws.Truth("ci"); len(keys) != 2 {
			t.Errorf("the user has %d keys, want the new one and the evidence", len(keys))
		}
	})
}

func TestBurnOfTheCurrentKeyWithBothSlotsTaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, leaked := twoKeys(t)
		h.order(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		if h.works(leaked) {
			t.Error("the leaked key still works")
		}
		if got := h.give(t, "ci"); got.KeyID != old.KeyID || !h.works(got) {
			t.Error("the previous key, which still works, was not fallen back on")
		}
	})
}

// TestBurnWithoutReplacement is the only way in which the last key goes.
func TestBurnWithoutReplacement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey {
				return rotatetest.Before
			}
			return rotatetest.None
		}
		h.order(t, plan.Order{Kind: plan.Burn})
		if h.works(leaked) {
			t.Error("the leaked key still works though its replacement cannot be had")
		}
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}
		if _, err := d.Give(t.Context(), "ci", rotate.Recipient{}); !errors.Is(err, rotate.ErrNoKeyReady) {
			t.Errorf("Give() = %v, want %v", err, rotate.ErrNoKeyReady)
		}
		h.aws.Fault = nil
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci"); !h.works(got) {
			t.Error("no new key came once IAM worked again")
		}
	})
}

func TestReleaseLeavesOneWorkingKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, _, cur := twoKeys(t)
		if err := h.Release(t.Context(), "ci", "test"); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			var left rotate.Credential
			done, until, err := h.Let(t.Context(), "ci", func(c rotate.Credential) error { left = c; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if !done {
				time.Sleep(time.Until(until) + time.Millisecond)
				continue
			}
			if left.KeyID != cur.KeyID || !h.works(left) {
				t.Errorf("%s is left (works: %v), want %s", left.KeyID, h.works(left), cur.KeyID)
			}
			if n := len(h.aws.Truth("ci")); n != 1 {
				t.Errorf("%d keys are left, want 1", n)
			}
			if _, err := h.store.Load(t.Context(), "ci"); !errors.Is(err, rotate.ErrNotFound) {
				t.Errorf("Load() after the release = %v, want %v", err, rotate.ErrNotFound)
			}
			return
		}
		t.Error("the user was never let go")
	})
}

func TestImport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		k, secret, err := h.aws.Create(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Import(t.Context(), "ci", k.ID, rotate.NewSecret("wrong"), "test"); !errors.Is(err, rotate.ErrRefused) {
			t.Errorf("Import() with a wrong secret = %v, want %v", err, rotate.ErrRefused)
		}
		if es, _ := h.store.List(t.Context()); len(es) != 0 {
			t.Error("a refused import left something in the store")
		}
		if err := h.Import(t.Context(), "ci", "AKIANOTTHERE", secret, "test"); !errors.Is(err, rotate.ErrNoKey) {
			t.Errorf("Import() of another key = %v, want %v", err, rotate.ErrNoKey)
		}
		if err := h.Import(t.Context(), "ci", k.ID, secret, "test"); err != nil {
			t.Fatalf("Import() = %v", err)
		}
		h.turn(t, rotate.Options{})
		if got := h.give(t, "ci"); got.KeyID != k.ID {
			t.Errorf("%s is handed out after the import, want %s", got.KeyID, k.ID)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for _, have := range h.aws.Truth("ci") {
			if have.ID == k.ID {
				t.Error("the imported key was never rotated away")
			}
		}
	})
}

func TestHoldWaitsForCallers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Handouts = h.store
		h.Policy = func(string) plan.Policy { return plan.Policy{OnInUse: plan.Hold, MaxHold: 30 * time.Minute} }
		h.turn(t, rotate.Options{})
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store, Handouts: h.store}
		old, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "batch"})
		if err != nil {
			t.Fatal(err)
		}
		run := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if err := h.Run(ctx); err != nil {
				t.Fatal(err)
			}
		}
		run(20 * time.Minute)
		if !h.works(old) {
			t.Error("the key was deactivated although batch still holds it")
		}
		if err := h.Acknowledge(t.Context(), "ci", "batch", "test"); err != nil {
			t.Fatal(err)
		}
		run(2 * time.Minute)
		if h.works(old) {
			t.Error("the key still works after batch was acknowledged")
		}
	})
}

func TestPauseServesOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, first := oneKey(t)
		if err := h.Pause(t.Context(), "ci", time.Now().Add(2*time.Hour), "", "test"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 119*time.Minute)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		got := h.give(t, "ci")
		if got.KeyID != first.KeyID || !h.works(got) || !got.Expiration.After(time.Now()) {
			t.Errorf("a paused user is handed %s until %s, want %s with an Expiration ahead", got.KeyID, got.Expiration, first.KeyID)
		}
		ctx2, cancel2 := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel2()
		if err := h.Run(ctx2); err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci"); got.KeyID == first.KeyID {
			t.Error("rotation did not go on when the pause had ended")
		}
	})
}

func TestStoreDownServesFromMemory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}
		first, err := d.Give(t.Context(), "ci", rotate.Recipient{})
		if err != nil {
			t.Fatal(err)
		}
		h.store.Before = func(string, string) error { return errors.New("input/output error") }
		got, err := d.Give(t.Context(), "ci", rotate.Recipient{})
		if err != nil || got.KeyID != first.KeyID || !got.Expiration.Equal(first.Expiration) {
			t.Errorf("Give() with the store down = %s until %s, %v, want what was promised before", got.KeyID, got.Expiration, err)
		}
		time.Sleep(time.Until(first.Expiration))
		if _, err := d.Give(t.Context(), "ci", rotate.Recipient{}); err == nil {
			t.Error("a key was handed out from memory beyond its promise")
		}
	})
}

// TestARehearsedOrderChangesNothing: burn and roll-back with --dry-run say what
// they would do.
func TestARehearsedOrderChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		time.Sleep(10*time.Minute + time.Second)
		h.turn(t, rotate.Options{Force: true})
		before, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		calls := h.aws.Calls(rotatetest.CreateKey) + h.aws.Calls(rotatetest.UpdateKey) + h.aws.Calls(rotatetest.DeleteKey)
		h.Dry = true
		for _, tc := range []struct {
			order plan.OrderKind
			want  string
		}{
			{plan.Rollback, "verify promote"},
			{plan.Burn, "verify promote deactivate"},
		} {
			o, err := h.Order(t.Context(), "ci", plan.Order{Kind: tc.order})
			if err != nil {
				t.Fatal(err)
			}
			rep, err := h.Rehearse(t.Context(), "ci", o)
			if err != nil || !strings.HasPrefix(actions(rep), tc.want) {
				t.Errorf("%s would %q, %v, want %q first", tc.order, actions(rep), err, tc.want)
			}
		}
		after, err := h.store.Load(t.Context(), "ci")
		if err != nil || after.Version != before.Version {
			t.Errorf("the record went from version %d to %d, %v", before.Version, after.Version, err)
		}
		if n := h.aws.Calls(rotatetest.CreateKey) + h.aws.Calls(rotatetest.UpdateKey) + h.aws.Calls(rotatetest.DeleteKey); n != calls {
			t.Errorf("%d changing calls were made", n-calls)
		}
	})
}

// TestARollbackThatIsDroppedIsAnError: nobody must believe it was done.
func TestARollbackThatIsDroppedIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old := oneKey(t)
		time.Sleep(10*time.Minute + time.Second)
		h.turn(t, rotate.Options{Force: true})
		if _, err := h.Order(t.Context(), "ci", plan.Order{Kind: plan.Rollback, KeyID: "AKIAUNKNOWN"}); !errors.Is(err, rotate.ErrNotHeld) {
			t.Errorf("Order(an unknown key) = %v, want %v", err, rotate.ErrNotHeld)
		}
		o, err := h.Order(t.Context(), "ci", plan.Order{Kind: plan.Rollback})
		if err != nil {
			t.Fatal(err)
		}
		h.aws.Uproot("ci", old.KeyID) // somebody was faster
		if _, err := h.Obey(t.Context(), "ci", o, time.Minute); !errors.Is(err, rotate.ErrOrderPointless) {
			t.Errorf("Obey() = %v, want %v", err, rotate.ErrOrderPointless)
		}
	})
}

// TestAnOperatorsCommandDoesNotCallAUserUnselected: it does not read the
// selection, so it starts no rotation that is due, but raises no alarm either.
func TestAnOperatorsCommandDoesNotCallAUserUnselected(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, cur := twoKeys(t)
		time.Sleep(15 * time.Minute) // another rotation is due
		command := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "command"}
		o, err := command.Order(t.Context(), "ci", plan.Order{Kind: plan.Burn, KeyID: old.KeyID})
		if err != nil {
			t.Fatal(err)
		}
		made := h.aws.Calls(rotatetest.CreateKey)
		if _, err := command.Obey(t.Context(), "ci", o, time.Minute); err != nil {
			t.Fatal(err)
		}
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if e.Record.Waiting != "" {
			t.Errorf("the user waits for %q, want no alarm", e.Record.Waiting)
		}
		if n := h.aws.Calls(rotatetest.CreateKey); n != made {
			t.Errorf("a command that did not read the selection made %d keys", n-made)
		}
		if got := h.give(t, "ci"); got.KeyID != cur.KeyID {
			t.Errorf("handed out is %s, want %s", got.KeyID, cur.KeyID)
		}
	})
}
