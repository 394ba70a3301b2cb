package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestUnreadableEntriesKeepNobodyWaiting has 600 entries that cannot be opened,
// more than are read from the due index at once, all of them due, before one that can: it must be rotated on time, while they are
// tried now and then, reported once each, and rotated again when they can be read.
func TestUnreadableEntriesKeepNobodyWaiting(t *testing.T) {
	const bad = 600
	inBubble(t, func(t *testing.T) {
		var users []string
		for i := range bad {
			users = append(users, fmt.Sprintf("bad-%03d", i))
		}
		h := newHouse(append(users, "well")...)
		h.Policy = func(user string) plan.Policy {
			if user == "well" {
				return plan.Policy{Phase: 7 * time.Minute} // due after all others
			}
			return plan.Policy{}
		}
		h.turn(t, rotate.Options{})
		denied := errors.New("AccessDeniedException: the ciphertext's context")
		var broken atomic.Bool
		var tries atomic.Int64
		broken.Store(true)
		h.store.Before = func(op, user string) error {
			if op == rotatetest.OpLoad && broken.Load() && strings.HasPrefix(user, "bad-") {
				tries.Add(1)
				return denied
			}
			return nil
		}
		var mu sync.Mutex
		promoted, told, late := map[string]int{}, map[string]int{}, time.Duration(0)
		h.Observe = func(user string, step plan.Step, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, rotate.ErrUnreadable):
				told[user]++
			case err == nil && step.Action == plan.Promote:
				promoted[user]++
				if user == "well" {
					late = max(late, time.Since(step.Due))
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(2 * time.Hour)
		mu.Lock()
		if n := promoted["well"]; n < 11 || late > 15*time.Second {
			t.Errorf("the healthy user got %d keys in two hours, the latest %s after its slot; want one every 10 min", n, late)
		}
		for _, u := range users {
			if told[u] != 1 {
				t.Errorf("%s was reported %d times, want once", u, told[u])
				break
			}
		}
		mu.Unlock()
		if n := tries.Load(); n < bad*2*30 || n > bad*2*90 {
			t.Errorf("%d attempts to read %d entries in two hours, want about one a minute each", n, bad)
		}
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		mu.Lock()
		for _, u := range users {
			if promoted[u] == 0 {
				t.Errorf("%s was not rotated within two minutes of being readable again", u)
				break
			}
		}
		mu.Unlock()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestSlowFailuresKeepNobodyWaiting has entries before a good one whose reading
// takes 10 s and then fails, more than can be read between two of its rotations, as few may begin at once:
// the good one has its turn, in a daemon and in a function with little time.
func TestSlowFailuresKeepNobodyWaiting(t *testing.T) {
	const while = 2 * time.Hour
	for name, tc := range map[string]struct {
		bad int
		run func(context.Context, *house)
	}{
		"a daemon": {300, func(ctx context.Context, h *house) { _ = h.Run(ctx) }},
		"passes of 30 s each minute": {120, func(ctx context.Context, h *house) {
			for ctx.Err() == nil {
				pass, cancel := context.WithTimeout(ctx, 30*time.Second)
				began := time.Now()
				_, _ = h.RunOnce(pass, rotate.Options{Unattended: true}) // ends for lack of time
				cancel()
				time.Sleep(time.Minute - time.Since(began))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var users []string
				for i := range tc.bad {
					users = append(users, fmt.Sprintf("bad-%03d", i))
				}
				h := newHouse(append(users, "well")...)
				h.turn(t, rotate.Options{})
				h.store.Before = func(op, user string) error {
					if op == rotatetest.OpLoad && strings.HasPrefix(user, "bad-") {
						time.Sleep(10 * time.Second)
						return errors.New("no answer")
					}
					return nil
				}
				var promoted atomic.Int64
				h.Observe = func(user string, step plan.Step, err error) {
					if user == "well" && err == nil && step.Action == plan.Promote {
						promoted.Add(1)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), while)
				defer cancel()
				tc.run(ctx, h)
				if n := promoted.Load(); n < 11 {
					t.Errorf("the healthy user got %d keys in %s, want one every 10 min", n, while)
				}
			})
		})
	}
}

// TestAReportIsOrderedByUser also when a user that failed had its turn last.
func TestAReportIsOrderedByUser(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ann", "bob", "cyd")
		h.turn(t, rotate.Options{})
		h.store.Before = func(op, user string) error {
			if op == rotatetest.OpLoad && user == "ann" {
				return errors.New("damaged")
			}
			return nil
		}
		for range 2 {
			time.Sleep(10 * time.Minute)
			rep, err := h.RunOnce(t.Context(), rotate.Options{})
			var names []string
			for _, u := range rep.Users {
				names = append(names, u.User)
			}
			if err != nil || !slices.Equal(names, []string{"ann", "bob", "cyd"}) {
				t.Errorf("RunOnce = %v, %v", names, err)
			}
		}
	})
}
