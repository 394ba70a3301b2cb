package rotate_test

import (
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
