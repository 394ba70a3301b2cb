package rotate_test

import (
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestTheCallsOfAProofBeginApart: what a call takes is part of the gap to the next
// one, so that a proof is no longer than it has to be.
func TestTheCallsOfAProofBeginApart(t *testing.T) {
	t.Parallel()
	for took, apart := range map[time.Duration]time.Duration{
		0: 500 * time.Millisecond, 300 * time.Millisecond: 500 * time.Millisecond, 2 * time.Second: 2 * time.Second,
	} {
		t.Run(took.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				var began []time.Time
				h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
					if op == rotatetest.CallerIdentity {
						began = append(began, time.Now())
						time.Sleep(took)
					}
					return rotatetest.None
				}
				h.turn(t, rotate.Options{})
				if len(began) != 6 {
					t.Fatalf("%d calls, want two proofs of three", len(began))
				}
				for i := range began[:5] {
					if got := began[i+1].Sub(began[i]); i != 2 && got != apart {
						t.Errorf("calls %d and %d begin %s apart, want %s", i, i+1, got, apart)
					}
				}
			})
		})
	}
}
