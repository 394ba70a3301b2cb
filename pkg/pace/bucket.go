package pace

import (
	"context"
	"sync"
	"time"
)

// bucket is the budget of one action.
type bucket struct {
	burst float64
	turn  chan struct{} // held by the one that waits for a token; the others wait for it, in the order they came

	mu     sync.Mutex
	learn  learner
	tokens float64   // calls that may be made at once; negative: overdrawn
	filled time.Time // when tokens was right
	waited time.Time // when a call last had to wait
}

func newBucket(most float64, burst int) *bucket {
	return &bucket{
		burst: float64(burst), turn: make(chan struct{}, 1), tokens: float64(burst), learn: newLearner(most),
	}
}

// wait returns nil when a call may be made, or ctx's error.
func (b *bucket) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.turn }()
	for {
		d := b.take()
		if d <= 0 {
			return nil
		}
		t := time.NewTimer(d)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C: // the rate may have been cut meanwhile
		}
	}
}

// take takes a token if there is one. Otherwise it returns how long it takes
// until there will be one at the present rate.
func (b *bucket) take() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	b.waited = now
	// A nanosecond more, so that rounding never leaves a part of a token missing.
	return time.Duration((1-b.tokens)/b.learn.rate*float64(time.Second)) + 1
}

// fill adds what has come since. Once AWS has refused a call, how much it takes
// at once is not known either: calls are spaced evenly.
func (b *bucket) fill(now time.Time) {
	most := b.burst
	if b.learn.phase != free {
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
