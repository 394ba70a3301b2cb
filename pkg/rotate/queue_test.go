package rotate_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestKeysOnTheirWayQueueForATarget: all users have the same slot, and the
// required target takes 200 ms: four times of that for the last ones of 60.
func TestKeysOnTheirWayQueueForATarget(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		b.takes = 200 * time.Millisecond
		h := newHouse(crowd("user", 60)...)
		h.Publishers, h.Workers = []rotate.Publisher{b}, 64
		first, last := promotions(h, "user")
		h.run(t, 30*time.Minute)
		if d := last().Sub(first()); first().IsZero() || d > time.Second {
			t.Errorf("the last key was promoted %s after the first, want a second at most: the target was free for it", d)
		}
	})
}

// TestChecksAfterAStartKeepNoKeyWaiting: a daemon starts shortly before a slot,
// and its checks of all other users' targets take long.
func TestChecksAfterAStartKeepNoKeyWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := &slowFor{board: newBoard("t"), users: "other"}
		b.traits.Timeout = 40 * time.Second
		h := newHouse(slices.Concat(crowd("other", 60), crowd("due", 1))...)
		h.Publishers, h.Workers = []rotate.Publisher{b}, 64
		h.Policy = func(user string) plan.Policy {
			if user == "due-00" {
				return plan.Policy{Phase: 5 * time.Minute}
			}
			return plan.Policy{}
		}
		at := time.Now().Truncate(10 * time.Minute).Add(25 * time.Minute)
		h.run(t, time.Until(at.Add(-5*time.Second)))
		b.by, b.calls = 30*time.Second, 0
		h.Rotator = &rotate.Rotator{
			Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Publishers: h.Publishers, Owner: "restarted",
			Select: h.Select, Policy: h.Policy, Workers: 64,
		}
		first, _ := promotions(h, "due")
		h.run(t, 3*time.Minute)
		if d := first().Sub(at); d < 0 || d > 20*time.Second {
			t.Errorf("promoted %s after its slot, want 20 s: its target answers at once", d)
		}
		if b.calls < 24 { // eight at once
			t.Errorf("%d targets were checked in 3 minutes", b.calls)
		}
	})
}

// slowFor is slower by so much for users whose names begin so.
type slowFor struct {
	*board
	users string
	by    time.Duration
}

func (s *slowFor) Publish(ctx context.Context, c rotate.Credential) error {
	if strings.HasPrefix(c.User, s.users) {
		time.Sleep(s.by)
	}
	return s.board.Publish(ctx, c)
}

// promotions observes promotions of the users whose names begin so, from now on:
// when the first and the last one of the same slot were.
func promotions(h *house, prefix string) (first, last func() time.Time) {
	var mu sync.Mutex
	var slot, from, to time.Time
	h.Observe = func(user string, s plan.Step, err error) {
		mu.Lock()
		defer mu.Unlock()
		if s.Action != plan.Promote || err != nil || !strings.HasPrefix(user, prefix) {
			return
		}
		if !s.Due.Equal(slot) {
			slot, from = s.Due, time.Now()
		}
		to = time.Now()
	}
	get := func(t *time.Time) func() time.Time {
		return func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return *t
		}
	}
	return get(&from), get(&to)
}
