package rotate_test

import (
	"errors"
	"fmt"
	"slices"
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
		if limit := 15 * time.Second; worst == 0 || worst > limit {
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

// crowd are n users of a name.
func crowd(name string, n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("%s-%02d", name, i))
	}
	return users
}

// covers are the traits of a target of the users whose names begin so.
func covers(prefix string) rotate.Traits {
	return rotate.Traits{Covers: func(user string) bool { return strings.HasPrefix(user, prefix) }}
}

// holdsAll reports whether the target holds the Current keys of all users.
func holdsAll(t *testing.T, h *house, b *board, users []string) bool {
	t.Helper()
	return !slices.ContainsFunc(users, func(user string) bool {
		e, err := h.store.Load(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		cur := e.Record.In(plan.Current)
		return cur == nil || b.of(user).KeyID != cur.ID
	})
}

// TestADeadTargetIsTriedByOneUserAtATime: 60 users have a target that is down
// for an hour, 20 have another one.
func TestADeadTargetIsTriedByOneUserAtATime(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*board){
		"it hangs":   func(b *board) { b.hangs = func(string) bool { return true } },
		"it refuses": func(b *board) { b.err = errors.New("refused") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				dead, well := crowd("dead", 60), crowd("well", 20)
				target, other := newBoard("target"), newBoard("other")
				target.traits, other.traits = covers("dead"), covers("well")
				h := newHouse(slices.Concat(dead, well)...)
				h.Publishers, h.Workers = []rotate.Publisher{target, other}, 2
				h.Policy = func(user string) plan.Policy { return plan.Policy{Phase: plan.PhaseOf(user, 10*time.Minute)} }
				var mu sync.Mutex
				var worst time.Duration
				var told []string
				users := map[string]bool{} // that were told of as unpublished
				h.Observe = func(user string, s plan.Step, err error) {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case s.Action == plan.Promote && err == nil && strings.HasPrefix(user, "well"):
						worst = max(worst, time.Since(s.Due))
					case s.Action == plan.Publish && err != nil && !errors.Is(err, rotate.ErrTargetDown), s.Reason == plan.Unpublished && s.Action == plan.Wait:
						users[user] = true
					}
				}
				h.Target = func(name string, err error) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, fmt.Sprint(name, " ", err == nil))
				}
				h.run(t, 30*time.Minute) // the first keys are all made at once
				worst, told, target.calls = 0, nil, 0

				target.set(func() { fail(target) })
				h.run(t, time.Hour)
				if most := 60 + 16 + 3600/30; target.calls > most { // each user once, those before it is known, one in 30 s
					t.Errorf("the dead target was called %d times in an hour, want %d at most", target.calls, most)
				}
				if limit := 20 * time.Second; worst == 0 || worst > limit {
					t.Errorf("a promotion came %s after its slot, want it within %s: it is others' target that is down", worst, limit)
				}
				if down := h.Down(); !slices.Equal(told, []string{"target false"}) || !slices.Equal(down, []string{"target"}) {
					t.Errorf("told = %q, Down() = %q; want once that the target is down", told, down)
				}
				if len(users) > 16 {
					t.Errorf("%d users were told of, want those only that found the target down: %v", len(users), users)
				}
				for _, user := range dead {
					h.give(t, user)
				}

				target.set(func() { target.hangs, target.err = nil, nil })
				h.run(t, 90*time.Second)
				if !holdsAll(t, h, target, dead) {
					t.Error("not all users are published 90 s after the target is back")
				}
				if want := []string{"target false", "target true"}; !slices.Equal(told, want) || h.Down() != nil {
					t.Errorf("told = %q, Down() = %q; want %q", told, h.Down(), want)
				}
			})
		})
	}
}

// TestOneBadUserClosesNoTarget: a target that fails for one user, as often as
// it is asked, is down for nobody.
func TestOneBadUserClosesNoTarget(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		b.hangs = func(user string) bool { return user == "bad" }
		h := newHouse("bad", "good")
		h.Publishers = []rotate.Publisher{b}
		told := 0
		h.Target = func(string, error) { told++ }
		h.run(t, time.Hour)
		if told != 1 || h.Down() != nil { // that it works
			t.Errorf("told %d times, Down() = %q; want that it works for the others", told, h.Down())
		}
	})
}

// TestABurnPassesADeadTargetsQueue: its target may hold the leaked key.
func TestABurnPassesADeadTargetsQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		users := append(crowd("ci", 20), "ci")
		b := newBoard("t")
		b.traits.Expires = false
		h := newHouse(users...)
		h.Publishers = []rotate.Publisher{b}
		h.run(t, 2*time.Minute)
		b.set(func() { b.err = errors.New("refused") })
		h.run(t, 20*time.Minute)
		if h.Down() == nil {
			t.Fatal("the target is not down")
		}
		leaked := h.give(t, "ci").KeyID
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked})
		b.set(func() { b.err, b.after = nil, nil; b.hangs = func(user string) bool { return user != "ci" } })
		h.run(t, 30*time.Second) // a new key takes half of that
		if got := b.of("ci").KeyID; got == leaked || got != h.give(t, "ci").KeyID {
			t.Errorf("the target holds %s 30 s after the burn of %s, want what is served", got, leaked)
		}
	})
}
