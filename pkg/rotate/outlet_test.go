package rotate_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// TestAHungRequiredPublisherHoldsNoSlots: it hangs for most of the users, and a
// few workers serve all.
func TestAHungRequiredPublisherHoldsNoSlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var users []string
		for i := range 60 {
			users = append(users, fmt.Sprintf("hung-%02d", i))
		}
		for i := range 20 {
			users = append(users, fmt.Sprintf("well-%02d", i))
		}
		b := newBoard("t")
		b.hangs = func(user string) bool { return strings.HasPrefix(user, "hung") }
		h := newHouse(users...)
		h.Publishers, h.Workers = []rotate.Publisher{b}, 2
		var mu sync.Mutex
		var worst time.Duration
		h.Observe = func(user string, s plan.Step, err error) {
			mu.Lock()
			defer mu.Unlock()
			if s.Action == plan.Promote && err == nil && !s.Due.IsZero() && !b.hangs(user) {
				worst = max(worst, time.Since(s.Due))
			}
		}
		h.Policy = func(user string) plan.Policy {
			return plan.Policy{Phase: plan.PhaseOf(user, 10*time.Minute)}
		}
		h.run(t, 10*time.Minute) // the first keys are all made at once
		worst = 0
		h.run(t, 40*time.Minute)
		if limit := 25 * time.Second; worst == 0 || worst > limit {
			t.Errorf("a promotion came %s after its slot, want it within %s: the publisher hangs for others", worst, limit)
		}
		if b.most > 16 {
			t.Errorf("the publisher had %d calls at once, want 16 at most", b.most)
		}
	})
}

// TestAPublisherHasItsOwnTime: the bound on a call to IAM does not cut it.
func TestAPublisherHasItsOwnTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, optional := newBoard("t"), newBoard("optional")
		b.takes, b.traits.Timeout = 40*time.Second, 45*time.Second
		optional.takes, optional.traits.Timeout = 20*time.Second, 21*time.Second
		h := newHouse("ci")
		h.Publishers, h.Optional = []rotate.Publisher{b}, []rotate.Publisher{optional}
		h.run(t, 2*time.Minute)
		got := h.give(t, "ci")
		if b.of("ci").KeyID != got.KeyID || optional.of("ci").KeyID != got.KeyID {
			t.Errorf("the targets hold %q and %q, want %s", b.of("ci").KeyID, optional.of("ci").KeyID, got.KeyID)
		}
	})
}
