package pace

import (
	"context"
	"slices"
	"sync"
	"time"
)

// bucket is the budget of one action, and the queue of those that wait for it.
type bucket struct {
	burst float64

	mu     sync.Mutex
	learn  learner
	tokens float64   // calls that may be made at once; negative: overdrawn
	filled time.Time // when tokens was right
	waited time.Time // when a call last had to wait
	queue  []*waiter // who is first in turn comes first
}

type waiter struct {
	first bool          // before all that are not
	turn  chan struct{} // has one element when the waiter may be the first in turn
}

func newBucket(most float64, burst int) *bucket {
	return &bucket{burst: float64(burst), tokens: float64(burst), learn: newLearner(most/2, most)}
}

// wait returns nil when a call may be made, or ctx's error.
func (b *bucket) wait(ctx context.Context, first bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{first: first, turn: make(chan struct{}, 1)}
	b.mu.Lock()
	at := len(b.queue)
	if first {
		at = slices.IndexFunc(b.queue, func(o *waiter) bool { return !o.first })
		if at < 0 {
			at = len(b.queue)
		}
	}
	b.queue = slices.Insert(b.queue, at, w)
	b.mu.Unlock()
	for {
		d, mine := b.try(w)
		if mine && d <= 0 {
			return nil
		}
		t := time.NewTimer(d)
		if !mine { // whoever is before it says when its turn comes
			t.Stop()
		}
		select {
		case <-ctx.Done():
			t.Stop()
			b.mu.Lock()
			b.leave(w)
			b.mu.Unlock()
			return ctx.Err()
		case <-w.turn:
		case <-t.C:
		}
		t.Stop()
	}
}

// try takes a token for w if it is its turn and there is one: then d is zero.
// Otherwise d is how long it takes until there will be one at the present rate.
func (b *bucket) try(w *waiter) (d time.Duration, mine bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	if b.queue[0] != w {
		b.waited = now
		return time.Hour, false
	}
	if b.tokens >= 1 {
		b.tokens--
		b.leave(w)
		return 0, true
	}
	b.waited = now
	// A nanosecond more, so that rounding never leaves a part of a token missing.
	return time.Duration((1-b.tokens)/b.learn.rate*float64(time.Second)) + 1, true
}

// leave takes w out of the queue and tells whose turn it is.
func (b *bucket) leave(w *waiter) {
	b.queue = slices.DeleteFunc(b.queue, func(o *waiter) bool { return o == w })
	if len(b.queue) > 0 {
		select {
		case b.queue[0].turn <- struct{}{}:
		default:
		}
	}
}

// fill adds what has come since. Once AWS has refused a call, how much it takes
// at once is not known either: calls are spaced evenly.
func (b *bucket) fill(now time.Time) {
	most := b.burst
	if b.learn.phase != search {
		most = 1
	}
	if !b.filled.IsZero() {
		b.tokens += now.Sub(b.filled).Seconds() * b.learn.rate
	}
	b.tokens, b.filled = min(b.tokens, most), now
}

func (b *bucket) spend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(time.Now())
	b.tokens--
}

// note tells the learner. Calls wait, so that the rate is what limits them, if
// one had to of late.
func (b *bucket) note(sent time.Time, throttled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now) // at the rate so far
	if throttled {
		b.learn.refuse(sent, now)
		b.fill(now)
		return
	}
	recently := max(time.Second, time.Duration(2/b.learn.rate*float64(time.Second)))
	b.learn.accept(now, now.Sub(b.waited) < recently)
}

func (b *bucket) now() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.learn.rate
}
