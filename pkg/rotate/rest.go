package rotate

import (
	"context"
	"time"
)

// rest is how long this process leaves a user alone after a failure of its own:
// it could not look at the user's keys, or was not allowed to act. It is not
// saved, because another process may be able to.
type rest struct {
	failures int
	until    time.Time
	peek     time.Time // the store is asked for an order then
}

const (
	longestRest = time.Minute
	peekEvery   = 5 * time.Second // an order ends the rest
)

func (r *Rotator) rest(user string) {
	var old rest
	if v, ok := r.rested.Load(user); ok {
		old = v.(rest)
	}
	now := r.now()
	n := old.failures + 1
	r.rested.Store(user, rest{n, now.Add(min(longestRest, time.Second<<min(n-1, 6))), now.Add(peekEvery)})
}

// resting reports whether the user is to be left alone. An open order ends that.
func (r *Rotator) resting(ctx context.Context, user string) bool {
	v, ok := r.rested.Load(user)
	if !ok {
		return false
	}
	at, now := v.(rest), r.now()
	if left := at.until.Sub(now); left <= 0 || left > longestRest {
		return false // over, or the clock was set
	}
	if now.Before(at.peek) {
		return true
	}
	at.peek = now.Add(peekEvery)
	r.rested.Store(user, at)
	e, err := r.Store.Load(ctx, user)
	return err != nil || len(OpenOrders(e.Record)) == 0
}
