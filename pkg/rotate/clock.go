package rotate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrNoTime means that AWS has not told the time yet, or has to be asked for
// it again. Nothing that a later decision rests on is saved until it has.
var ErrNoTime = errors.New("AWS's time is not known")

const (
	// clockSlack is the difference that is put up with: the resolution of the
	// Date header is a second.
	clockSlack = 2 * time.Second
	askTimeout = 2 * time.Second // for one question
	askPause   = 5 * time.Second // after a question that was not answered
)

// Clock is AWS's time: what AWS's answers are dated, carried forward by the
// monotonic clock, so that setting this machine's clock does not change it.
// Every deadline that keyrot keeps is a promise to clients whose clocks are
// right; a machine whose clock was stepped, or was never set, would break them
// all. A process has one Clock, given to everything in it that judges time. It
// is safe for concurrent use; its fields must not be changed after the first
// call.
//
// The time is known once an answer has told it. It is in doubt again when this
// machine's wall clock and monotonic clock part, because the monotonic clock
// stops while a machine or a function is suspended, and when an answer
// contradicts it, until a second answer confirms one of the two.
type Clock struct {
	Wall func() time.Time                // this machine's clock; nil: time.Now
	Ask  func(ctx context.Context) error // makes a call whose answer reaches Begin; nil: nobody can be asked
	Log  *slog.Logger                    // nil: discarded

	mu    sync.Mutex
	known *reading // nil: no answer yet
	doubt *reading // an answer that contradicts known
	turns int      // how often the time was corrected

	once   sync.Once
	asking chan struct{} // held by the caller that asks
	failed time.Time     // when nobody answered; under asking
}

// reading is AWS's time at one instant: at least low, at most high.
type reading struct {
	low, high, best time.Time
	mono, wall      time.Time // the same instant by this machine's two clocks
}

// at carries r forward to the monotonic instant mono.
func (r reading) at(mono time.Time) reading {
	ran := mono.Sub(r.mono)
	r.low, r.high, r.best = r.low.Add(ran), r.high.Add(ran), r.best.Add(ran)
	return r
}

// fits reports whether both readings of one instant may be true.
func (r reading) fits(o reading) bool {
	return !r.low.After(o.high.Add(clockSlack)) && !o.low.After(r.high.Add(clockSlack))
}

func (c *Clock) wall() time.Time {
	if c.Wall != nil {
		return c.Wall().Round(0)
	}
	return time.Now().Round(0) //nolint:forbidigo // the default of the field
}

// mono is an instant on the monotonic clock, which cannot be set.
func mono() time.Time { return time.Now() } //nolint:forbidigo // the monotonic reading is wanted

// parted reports whether this machine's clocks moved apart since the instant
// (mono, wall): it was suspended in between, or its clock was set.
func (c *Clock) parted(m, wall time.Time) bool {
	return (c.wall().Sub(wall) - mono().Sub(m)).Abs() > clockSlack
}

// Begin is called before a request is sent to AWS, and its result with the
// date of the answer.
func (c *Clock) Begin() (dated func(time.Time)) {
	sent, wall := mono(), c.wall()
	return func(date time.Time) {
		if date.IsZero() || c.parted(sent, wall) {
			return // nobody knows how old the answer is
		}
		r := reading{low: date, mono: mono(), wall: c.wall()}
		r.high = date.Add(time.Second + r.mono.Sub(sent))
		c.read(r)
	}
}

// read takes an answer's time into account.
func (c *Clock) read(r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.best = clamp(r.wall, r.low, r.high)
	if c.known == nil {
		c.adopt(r, r.wall)
		return
	}
	old := c.known.at(r.mono)
	switch {
	case old.fits(r):
		low, high := later(old.low, r.low), earlier(old.high, r.high)
		if low.After(high) { // the clocks' rates differ a little
			low, high = r.low, r.high
		}
		r.low, r.high, r.best = low, high, clamp(old.best, low, high)
		c.known, c.doubt = &r, nil
	case c.doubt != nil && c.doubt.at(r.mono).fits(r), c.parted(c.known.mono, c.known.wall):
		c.adopt(r, old.best)
	default:
		c.doubt = &r
		c.log().Warn("an answer of AWS contradicts the time that earlier ones told; another one will decide", "offset", r.best.Sub(old.best))
	}
}

// adopt makes r the time. was is what it was taken for until now.
func (c *Clock) adopt(r reading, was time.Time) {
	c.known, c.doubt = &r, nil
	if off := r.best.Sub(was); off.Abs() > clockSlack {
		c.turns++
		c.log().Warn("this machine's clock differs from AWS's, which is used instead", "offset", off)
	}
}

func (c *Clock) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// Now returns the time by AWS's clock, or by this machine's until AWS has
// answered for the first time. It is the clock for everything that is compared
// with a promise.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		return c.wall()
	}
	return c.known.best.Add(mono().Sub(c.known.mono))
}

// Known reports whether Now is AWS's time for certain.
func (c *Clock) Known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known != nil && c.doubt == nil && !c.parted(c.known.mono, c.known.wall)
}

// corrections returns how often the time was corrected: what was judged by it
// before no longer holds.
func (c *Clock) corrections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turns
}

// Settle asks AWS for the time if it is not known, for a few seconds at most,
// and reports whether it is known now. Callers at the same time share one
// question; for 5 s after one that was not answered nobody is asked.
func (c *Clock) Settle(ctx context.Context) bool {
	if c.Known() || c.Ask == nil {
		return c.Known()
	}
	c.once.Do(func() { c.asking = make(chan struct{}, 1) })
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return false
	}
	for range 2 { // a second answer decides if the first one contradicts
		if c.Known() {
			break
		}
		if !c.failed.IsZero() && mono().Sub(c.failed) < askPause {
			return false
		}
		if err := c.ask(ctx); err != nil {
			if c.failed.IsZero() { // once for each outage
				c.log().Warn("cannot get the time from AWS", "err", err)
			}
			break
		}
	}
	if c.Known() {
		c.failed = time.Time{}
		return true
	}
	if ctx.Err() == nil { // otherwise it was the caller that gave up
		c.failed = mono()
	}
	return false
}

func (c *Clock) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.Ask(ctx)
}

func clamp(t, low, high time.Time) time.Time { return later(low, earlier(t, high)) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
