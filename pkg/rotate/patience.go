package rotate

import (
	"context"
	"sync/atomic"
	"time"
)

// recordTime bounds one attempt to use the store or the log for a hand-out, so
// that one that hangs delays the hand-out only.
const recordTime = 2 * time.Second

// patience bounds attempts. Those that begin within a twentieth of recordTime
// share one context, because setting a timer for each cost more than most of
// what it bounded. The zero value is ready; safe for concurrent use.
type patience struct{ latest atomic.Pointer[attempt] }

type attempt struct {
	context.Context
	until time.Time // for those that begin before, by the monotonic clock
}

// bound returns a context that ends within recordTime. It does not end when ctx
// is cancelled, but keeps a deadline that ctx has.
func (p *patience) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, recordTime)
	}
	now := mono()
	a := p.latest.Load()
	if a == nil || !now.Before(a.until) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		context.AfterFunc(shared, cancel)
		a = &attempt{shared, now.Add(recordTime / 20)}
		p.latest.Store(a)
	}
	return a.Context, func() {}
}
