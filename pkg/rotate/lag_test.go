package rotate_test

import (
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestAStaleListBlocksNobody has IAM's lists show a lost call's key as active
// after it was made inactive: for longer than a short schedule waits, for longer
// than [plan.Policy.Lag], and for longer than any wait. The key must go in the
// end, and rotation must go on.
func TestAStaleListBlocksNobody(t *testing.T) {
	short := plan.Policy{RotateEvery: 20 * time.Second, DeactivateAfter: 26 * time.Second, DeleteAfter: 35 * time.Second, Settle: time.Second}
	for name, row := range map[string]struct {
		policy plan.Policy
		late   time.Duration
	}{
		"lists of a short schedule are 10 s late":   {short, 10 * time.Second},
		"lists of a short schedule are 90 s late":   {short, 90 * time.Second},
		"lists are late by more than the lag":       {plan.Policy{}, 100 * time.Second},
		"lists are late by more than twice the lag": {plan.Policy{}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.Policy = func(string) plan.Policy { return row.policy }
				h.turn(t, rotate.Options{})
				served := h.give(t, "ci")
				lost := false
				h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
					if op == rotatetest.CreateKey && !lost {
						lost = true
						return rotatetest.After
					}
					if op == rotatetest.UpdateKey && lost { // the list knows the key, but not that it is inactive
						h.aws.Change(func(a *rotatetest.AWS) { a.List = rotatetest.Delay{Min: row.late, Max: row.late} })
					}
					if op == rotatetest.DeleteKey {
						h.aws.Change(func(a *rotatetest.AWS) { a.List = rotatetest.Delay{} })
					}
					return rotatetest.None
				}
				h.run(t, time.Hour)
				e, err := h.store.Load(t.Context(), "ci")
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range h.aws.Truth("ci") {
					if e.Record.Key(k.ID) == nil {
						t.Errorf("%s is an orphan, for ever: it was reported as foreign because of a stale list (%q)", k.ID, e.Record.Foreign)
					}
				}
				if got := h.give(t, "ci"); !lost || got.KeyID == served.KeyID {
					t.Error("the user is blocked")
				}
			})
		})
	}
}
