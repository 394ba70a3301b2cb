package rotate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestABurnWhoseCreationIsLost: no answer comes to the call that is to make the
// replacement. The leaked key dies in its minute, and the replacement comes as
// soon as it can: at once if the call had no effect, and otherwise in the slot
// that the leaked key leaves. Whoever made a key by hand just then keeps it.
func TestABurnWhoseCreationIsLost(t *testing.T) {
	t.Parallel()
	const death = time.Minute + 5*time.Second
	for name, tt := range map[string]struct {
		fault    rotatetest.Fault
		lost     int // calls
		plant    bool
		evidence time.Duration
		served   time.Duration // after the order
	}{
		"without effect":                         {fault: rotatetest.Before, lost: 1, served: 15 * time.Second},
		"without effect, four times":             {fault: rotatetest.Before, lost: 4, served: 45 * time.Second},
		"with effect":                            {fault: rotatetest.After, lost: 1, served: death + 20*time.Second},
		"with effect, and so is the next one":    {fault: rotatetest.After, lost: 2, served: 3 * time.Minute},
		"with effect, the leaked key is kept":    {fault: rotatetest.After, lost: 1, evidence: time.Hour, served: 4 * time.Minute},
		"without effect, and a key made by hand": {fault: rotatetest.Before, lost: 1, plant: true, served: death + 20*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.Policy = func(string) plan.Policy { return plan.Policy{Evidence: tt.evidence} }
				h.turn(t, rotate.Options{})
				leaked := h.give(t, "ci")
				calls, planted := 0, ""
				h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
					if op != rotatetest.CreateKey || calls >= tt.lost {
						return rotatetest.None
					}
					calls++
					return tt.fault
				}
				began := time.Now()
				h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
				if tt.plant {
					h.run(t, 2*time.Second)
					var err error
					if planted, err = h.aws.Plant("ci"); err != nil {
						t.Fatal(err)
					}
				}
				h.run(t, death-time.Since(began))
				if h.works(leaked) {
					t.Errorf("the leaked key works %s after the order", time.Since(began))
				}
				h.run(t, tt.served-time.Since(began))
				if got := h.give(t, "ci"); got.KeyID == leaked.KeyID || !h.works(got) {
					t.Errorf("there is no replacement %s after the order", time.Since(began))
				}
				if tt.plant { // its owner sees that it is inactive, at the latest
					h.aws.Switch("ci", planted, plan.Active)
				}
				h.run(t, 20*time.Minute)
				var strange []string
				r := h.record(t)
				for _, k := range h.aws.Truth("ci") {
					if r.Key(k.ID) == nil {
						strange = append(strange, k.ID)
					}
				}
				if got := strings.Join(strange, " "); got != planted {
					t.Errorf("keys that the record does not hold: %q, want %q", got, planted)
				}
			})
		})
	}
}

// TestABurnThatFoundNoReplacementInTime: nothing could be made for two minutes,
// so the leaked key died alone. The replacement is a part of the burn, whatever
// keeps other rotations from beginning.
func TestABurnThatFoundNoReplacementInTime(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, h *house){
		"while nothing else is in the way": func(*testing.T, *house) {},
		"while the user is paused": func(t *testing.T, h *house) {
			if err := h.Pause(t.Context(), "ci", time.Time{}, "audit", "test"); err != nil {
				t.Fatal(err)
			}
		},
		"in a maintenance window": func(_ *testing.T, h *house) {
			h.Policy = func(string) plan.Policy { return plan.Policy{Frozen: plan.IsFrozen} }
		},
		"while a required publisher is down": func(_ *testing.T, h *house) {
			b := newBoard("t")
			b.err = errors.New("target is down")
			h.Publishers = []rotate.Publisher{b}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.turn(t, rotate.Options{})
				leaked := h.give(t, "ci")
				h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "restarted", Select: h.Select}
				prepare(t, h)
				h.refuse(rotatetest.CreateKey)
				h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
				h.run(t, 2*time.Minute)
				if h.works(leaked) {
					t.Fatal("the leaked key works two minutes after the order")
				}
				h.aws.Fault = nil
				h.run(t, 90*time.Second) // the longest wait after a failure, and the proof
				if got := h.give(t, "ci"); got.KeyID == leaked.KeyID || !h.works(got) {
					t.Error("there is no replacement a minute and a half after keys can be made again")
				}
			})
		})
	}
}

// TestABurnThatCouldNotBeSeenInTime: nobody could act for two minutes, and the
// previous key works still, while both slots are taken.
func TestABurnThatCouldNotBeSeenInTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, leaked := twoKeys(t)
		h.Policy = func(string) plan.Policy { return plan.Policy{Evidence: time.Hour} }
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		time.Sleep(65 * time.Second)
		h.run(t, 10*time.Second)
		if h.works(leaked) {
			t.Error("the leaked key works")
		}
		if got := h.give(t, "ci"); got.KeyID != old.KeyID || !h.works(got) {
			t.Errorf("%s is served, want the previous key %s, which works", got.KeyID, old.KeyID)
		}
	})
}
