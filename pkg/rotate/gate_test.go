package rotate

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func TestGateLetsTheMostUrgentIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{size: 1}
		first := g.join(urgency{rank: plan.RankCreate})
		early, late := time.Unix(1, 0), time.Unix(2, 0)
		var order []string
		for _, w := range []struct {
			name string
			urgency
		}{
			{"create late", urgency{plan.RankCreate, late}},
			{"delete", urgency{plan.RankRetire, late}},
			{"create early", urgency{plan.RankCreate, early}},
			{"burn", urgency{plan.RankUrgent, late}},
			{"delete, the same", urgency{plan.RankRetire, late}},
			{"promote", urgency{plan.RankPromote, early}},
		} {
			p := g.join(w.urgency)
			go func() {
				if p.wait(t.Context()) == nil {
					order = append(order, w.name) // one at a time
					p.leave()
				}
			}()
			synctest.Wait()
		}
		first.leave()
		synctest.Wait()
		if want := []string{"burn", "promote", "delete", "delete, the same", "create early", "create late"}; !slices.Equal(order, want) {
			t.Errorf("let in were %q, want %q", order, want)
		}
	})
}

func TestGateKeepsPlacesThatMakeNoKey(t *testing.T) {
	t.Parallel()
	g := &gate{size: 2, spare: 1}
	creations := []*place{g.join(urgency{rank: plan.RankCreate}), g.join(urgency{rank: plan.RankCreate}), g.join(urgency{rank: plan.RankCreate})}
	inside := func(p *place) bool {
		select {
		case <-p.in:
			return true
		default:
			return false
		}
	}
	if !inside(creations[1]) || inside(creations[2]) {
		t.Error("of three creations not two are inside a gate for two")
	}
	burn, next := g.join(urgency{rank: plan.RankUrgent}), g.join(urgency{rank: plan.RankRetire})
	if !inside(burn) || inside(next) {
		t.Error("the spare place is not that of the most urgent")
	}
	burn.leave()
	if !inside(next) || inside(creations[2]) {
		t.Error("a creation is in the spare place")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := creations[2].wait(ctx); err == nil {
		t.Error("waiting outside does not end with its context")
	}
	creations[2].leave() // outside: it takes nobody's place along
	next.leave()
	creations[0].leave()
	creations[1].leave()
	if g.inside != 0 || g.creating != 0 || len(g.waiting) != 0 {
		t.Errorf("after all have left, %d are inside and %d wait", g.inside, len(g.waiting))
	}
}
