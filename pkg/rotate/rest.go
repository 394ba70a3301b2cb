package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// rest is how long this process leaves a user alone after a failure of its own:
// it could not look at the user's keys, was not allowed to act, or could not read
// the entry. It is not saved, because another process may be able to.
type rest struct {
	failures int
	blind    bool // the entry itself cannot be read: no order can be seen
	until    time.Time
	peek     time.Time // the store is asked for an order then
}

const (
	longestRest = time.Minute
	peekEvery   = 5 * time.Second // an order ends the rest
)

// tellBlind is after how many failures in a row an entry is reported as
// unreadable: after some seconds.
const tellBlind = 3

// rest lets the user rest after a failure, longer each time.
func (r *Rotator) rest(user string) { r.restFor(user, longestRest, false) }

// restBlind is rest after the user's entry could not be read. It rests no longer
// than a step that fails would. It returns how often that was so in a row.
func (r *Rotator) restBlind(user string) int {
	return r.restFor(user, r.policy(user, "").LongestRetry(), true)
}

func (r *Rotator) restFor(user string, longest time.Duration, blind bool) (failures int) {
	var old rest
	if v, ok := r.rested.Load(user); ok {
		old = v.(rest)
	}
	now := r.now()
	n := old.failures + 1
	if old.blind != blind {
		n = 1
	}
	r.rested.Store(user, rest{n, blind, now.Add(min(longest, time.Second<<min(n-1, 6))), now.Add(peekEvery)})
	return n
}

// restUntil ends the user's rest at t, if it lasts longer.
func (r *Rotator) restUntil(user string, t time.Time) {
	if v, ok := r.rested.Load(user); ok && t.Before(v.(rest).until) {
		at := v.(rest)
		at.until = t
		r.rested.Store(user, at)
	}
}

// unreadable ends a pass whose entry cannot be loaded. The user rests; it is
// reported once, when it looks as if it were not a matter of a moment.
func (p *pass) unreadable(user string, cause error) error {
	if errors.Is(cause, ErrNotFound) || p.ctx.Err() != nil || p.private {
		p.awake(user)
		return fmt.Errorf("loading %q: %w", user, cause)
	}
	err := fmt.Errorf("loading %q: %w: %w", user, ErrUnreadable, cause)
	if p.restBlind(user) == tellBlind {
		p.Log.Warn("the entry cannot be read; it is tried now and then, and the others go on", "user", user, "err", cause)
		if p.Observe != nil {
			p.Observe(user, plan.Step{Action: plan.Wait, Reason: plan.Unreadable}, err)
		}
	}
	return err
}

// failedLast returns the users, those that this process failed to look at behind
// the others: failing may take all the time, or all the workers, that there are.
func failedLast[User any](r *Rotator, users []User, name func(User) string) []User {
	failed := func(u User) int {
		if _, failed := r.rested.Load(name(u)); failed {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(users), func(a, b User) int { return failed(a) - failed(b) })
}

// sleepers returns how many users rest or did until now, and those that are not
// even to be asked about. They are due all the time, and must not keep others
// from being seen.
func (r *Rotator) sleepers() (n int, asleep map[string]bool) {
	now := r.now()
	asleep = map[string]bool{}
	r.rested.Range(func(user, v any) bool {
		n++
		at := v.(rest)
		if at.until.After(now) && at.until.Sub(now) <= longestRest && (at.blind || now.Before(at.peek)) {
			asleep[user.(string)] = true
		}
		return true
	})
	return n, asleep
}

// resting reports whether the user is to be left alone. An open order ends that.
// why is what it would fail with, if that is known.
func (r *Rotator) resting(ctx context.Context, user string) (resting bool, why error) {
	v, ok := r.rested.Load(user)
	if !ok {
		return false, nil
	}
	at, now := v.(rest), r.now()
	switch left := at.until.Sub(now); {
	case left <= 0 || left > longestRest:
		return false, nil // over, or the clock was set
	case at.blind:
		return true, fmt.Errorf("user %q: %w", user, ErrUnreadable)
	case now.Before(at.peek):
		return true, nil
	}
	at.peek = now.Add(peekEvery)
	r.rested.Store(user, at)
	e, err := r.Store.Load(ctx, user)
	return err != nil || len(OpenOrders(e.Record)) == 0, nil
}

// awake ends the user's rest.
func (r *Rotator) awake(user string) {
	if v, ok := r.rested.LoadAndDelete(user); ok && v.(rest).blind && v.(rest).failures >= tellBlind {
		r.Log.Info("the entry can be read again", "user", user)
	}
}
