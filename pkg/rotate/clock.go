package rotate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
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

	told  atomic.Pointer[told] // nil: no answer yet
	mu    sync.Mutex           // held by whoever changes told
	turns int                  // how often the time was corrected

	once   sync.Once
	asking chan struct{} // held by the caller that asks
	failed time.Time     // when nobody answered; under asking
}

// reading is AWS's time at one instant: at least low, at most high.
type reading struct {
	low, high, best time.Time
	mono, wall      time.Time // the same instant by this machine's two clocks
}

// told is what AWS's answers have told. It is not changed, but replaced.
type told struct {
	known reading
	doubt *reading // an answer that contradicts known
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

// mono is an instant on the monotonic clock, which cannot be set.
func mono() time.Time { return time.Now() } //nolint:forbidigo // the monotonic reading is wanted

// instant is this one, by this machine's two clocks.
func (c *Clock) instant() (m, wall time.Time) {
	m = mono()
	if c.Wall != nil {
		return m, c.Wall().Round(0)
	}
	return m, m.Round(0)
}

// parted reports whether this machine's clocks moved apart since the instant
// (mono, wall): it was suspended in between, or its clock was set.
func (c *Clock) parted(m, wall time.Time) bool {
	nowMono, nowWall := c.instant()
	return (nowWall.Sub(wall) - nowMono.Sub(m)).Abs() > clockSlack
}

// Begin is called before a request is sent to AWS, and its result with the
// date of the answer.
func (c *Clock) Begin() (dated func(time.Time)) {
	sent, wall := c.instant()
	return func(date time.Time) {
		if date.IsZero() || c.parted(sent, wall) {
			return // nobody knows how old the answer is
		}
		r := reading{low: date}
		r.mono, r.wall = c.instant()
		r.high = date.Add(time.Second + r.mono.Sub(sent))
		c.read(r)
	}
}

// read takes an answer's time into account.
func (c *Clock) read(r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.best = clamp(r.wall, r.low, r.high)
	t := c.told.Load()
	if t == nil {
		c.adopt(r, r.wall)
		return
	}
	old := t.known.at(r.mono)
	switch {
	case old.fits(r):
		low, high := later(old.low, r.low), earlier(old.high, r.high)
		if low.After(high) { // the clocks' rates differ a little
			low, high = r.low, r.high
		}
		r.low, r.high, r.best = low, high, clamp(old.best, low, high)
		c.told.Store(&told{known: r})
	case t.doubt != nil && t.doubt.at(r.mono).fits(r), c.parted(t.known.mono, t.known.wall):
		c.adopt(r, old.best)
	default:
		c.told.Store(&told{t.known, &r})
		c.log().Warn("an answer of AWS contradicts the time that earlier ones told; another one will decide", "offset", r.best.Sub(old.best))
	}
}

// adopt makes r the time. was is what it was taken for until now.
func (c *Clock) adopt(r reading, was time.Time) {
	c.told.Store(&told{known: r})
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
	t := c.told.Load()
	if t == nil {
		_, wall := c.instant()
		return wall
	}
	return t.known.best.Add(mono().Sub(t.known.mono))
}

// Known reports whether Now is AWS's time for certain.
func (c *Clock) Known() bool {
	t := c.told.Load()
	return t != nil && t.doubt == nil && !c.parted(t.known.mono, t.known.wall)
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
	if known := c.Known(); known || c.Ask == nil {
		return known
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
