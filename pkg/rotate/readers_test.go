package rotate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// refuse makes calls of the kind fail without effect.
func (h *house) refuse(kind rotatetest.Op) {
	h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
		if op == kind {
			return rotatetest.Before
		}
		return rotatetest.None
	}
}

// TestReadersDoNotWaitForABurnThatFails: the leaked key cannot be made inactive
// for a while, and may be dead all the same; its readers need the one that
// replaced it.
func TestReadersDoNotWaitForABurnThatFails(t *testing.T) {
	t.Parallel()
	for name, operator := range map[string]bool{"by the daemon": false, "by the operator's command": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBoard("t")
				h := newHouse("ci")
				h.Publishers = []rotate.Publisher{b}
				h.turn(t, rotate.Options{})
				leaked := h.give(t, "ci")
				h.refuse(rotatetest.UpdateKey)
				o := h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
				if operator {
					if _, err := h.Obey(t.Context(), "ci", o, time.Minute); !errors.Is(err, rotate.ErrOrderOpen) {
						t.Errorf("Obey() = %v, want %v", err, rotate.ErrOrderOpen)
					}
				} else {
					h.run(t, time.Minute)
				}
				got := h.give(t, "ci")
				if got.KeyID == leaked.KeyID || !h.works(leaked) {
					t.Fatal("there is no replacement, or the leaked key is dead: the test has shown nothing")
				}
				if has := b.of("ci"); has.KeyID != got.KeyID {
					t.Errorf("the target holds %s a minute after the order, want %s, which is served", has.KeyID, got.KeyID)
				}
			})
		})
	}
}

// TestReadersDoNotWaitForIAM: a target needs nothing of IAM, and IAM is down for
// hours: after a burn, whose order stays open meanwhile, or when a key is due.
func TestReadersDoNotWaitForIAM(t *testing.T) {
	t.Parallel()
	for name, burn := range map[string]bool{"after a burn": true, "when a key is due": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBoard("t")
				h := newHouse("ci")
				iam := &odd{IAM: h.aws}
				h.IAM, h.Publishers = iam, []rotate.Publisher{b}
				h.turn(t, rotate.Options{})
				down := errors.New("no route to host")
				if burn {
					burnBeforeAnOutage(t, h, b, func() { iam.fail(down) })
				} else {
					iam.fail(down)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- h.Run(ctx) }()
				for ctx.Err() == nil {
					time.Sleep(4 * time.Second)
					if left := time.Until(b.of("ci").Expiration); left <= 0 {
						t.Fatalf("IAM is down: the target says that the key expired %s ago, and it is served", -left)
					}
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if b.writes > 20 {
					t.Errorf("%d writes in 2 hours, want a few", b.writes)
				}
			})
		})
	}
}

// burnBeforeAnOutage burns the user's key while the target is down, and sees it
// given the replacement though IAM is down by then.
func burnBeforeAnOutage(t *testing.T, h *house, b *board, outage func()) {
	t.Helper()
	leaked := h.give(t, "ci")
	b.set(func() { b.err = errors.New("target is down") })
	h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
	h.run(t, 30*time.Second)
	got := h.give(t, "ci")
	if got.KeyID == leaked.KeyID || b.of("ci").KeyID != leaked.KeyID {
		t.Fatal("there is no replacement, or it was published: the test has shown nothing")
	}
	outage()
	b.set(func() { b.err = nil })
	h.run(t, 65*time.Second)
	if has := b.of("ci"); has.KeyID != got.KeyID {
		t.Errorf("the target holds %s a minute after it is back, want %s: IAM is down", has.KeyID, got.KeyID)
	}
}

// TestReadersOfAKeyOnItsWay: one target has the next key, another one is down
// for an hour, so that it is not promoted.
func TestReadersOfAKeyOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, down := newBoard("t"), newBoard("u")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b, down}
		h.turn(t, rotate.Options{})
		cur := h.give(t, "ci")
		down.set(func() { down.err = errors.New("target is down") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		for ctx.Err() == nil {
			time.Sleep(4 * time.Second)
			if c := b.of("ci"); !h.works(c) {
				t.Fatalf("the target holds %s, which does not work", c.KeyID)
			} else if left := time.Until(c.Expiration); left <= 0 {
				t.Fatalf("the target says that %s expired %s ago", c.KeyID, -left)
			}
		}
		if b.of("ci").KeyID == cur.KeyID || h.give(t, "ci").KeyID != cur.KeyID {
			t.Fatal("the next key was not published, or promoted: the test has shown nothing")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if b.writes > 20 {
			t.Errorf("%d writes in an hour, want a few", b.writes)
		}
	})
}
