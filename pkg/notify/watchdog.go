package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Watchdog tells that rotation has stopped, and that a user is overdue, from a
// goroutine of its own and whatever the scheduler does. It also reads again
// from the records what the rotator told, so that a crash loses no trouble, and
// none of a user that is no longer managed stays open.
type Watchdog struct {
	Notifier *Notifier
	Roster   *rotate.Roster
	Clock    *rotate.Clock                 // AWS's time, which users are judged by
	Policy   func(user string) plan.Policy // nil: the default policy for all
	Tick     time.Duration                 // of the scheduler; default 1 s
	Missed   int                           // ticks that may be missing; default 60
	Every    time.Duration                 // how often the records are read; default 1 min
	Owner    string                        // names this process

	beat    atomic.Pointer[time.Time] // latest tick, by the monotonic clock: the time may be corrected
	stopped bool
}

// Beat is for rotate.Rotator.Beat: the scheduler is alive.
func (w *Watchdog) Beat() {
	now := time.Now()
	w.beat.Store(&now)
}

// The troubles that a watchdog finds.
const (
	isStopped  = "stopped:" // and the process
	storeFails = "store"
)

// Run watches until ctx ends.
func (w *Watchdog) Run(ctx context.Context) error {
	w.Notifier.init()
	w.defaults()
	w.Beat() // the scheduler starts now
	var wg sync.WaitGroup
	defer wg.Wait()
	reviewed := make(chan struct{}, 1)
	reviewed <- struct{}{}
	next := time.Now()
	t := time.NewTicker(w.Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := time.Now()
		w.pulse(now.Sub(*w.beat.Load()))
		if now.Before(next) {
			continue
		}
		next = now.Add(w.Every)
		// A store that hangs must not stop the pulse, nor be asked twice.
		select {
		case <-reviewed:
			wg.Go(func() {
				w.Review(ctx)
				reviewed <- struct{}{}
			})
		default:
			w.Notifier.Tell(Item{
				Kind: Trouble, What: storeFails, Title: "the store does not answer",
				Do: "Keys that were handed out keep working. Look at the store.",
			})
		}
	}
}

func (w *Watchdog) defaults() {
	if w.Tick <= 0 {
		w.Tick = time.Second
	}
	if w.Missed <= 0 {
		w.Missed = 60
	}
	if w.Every <= 0 {
		w.Every = time.Minute
	}
}

// pulse tells when the scheduler has stopped and when it is back. since is how
// long it has given no sign.
func (w *Watchdog) pulse(since time.Duration) {
	now := w.Notifier.now()
	silent := since > time.Duration(w.Missed)*w.Tick
	switch {
	case silent && !w.stopped:
		w.Notifier.Tell(Item{
			Kind: Trouble, What: isStopped + w.Owner, At: now, Title: "rotation has stopped",
			Text: fmt.Sprintf("The scheduler of %s has given no sign since %s.", w.Owner, stamp(now.Add(-since))),
			Do:   "Keys in use keep working. Restart keyrot, and keep its log.",
		})
	case !silent && w.stopped:
		w.Notifier.Ended("", isStopped+w.Owner)
	}
	w.stopped = silent
}

// Review compares the records with what was told, once; Run does it every
// minute. It is for programs that end after a pass.
func (w *Watchdog) Review(ctx context.Context) {
	n := w.Notifier
	n.init()
	all, seen, err := w.Roster.All(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the program ends
	}
	if err != nil {
		n.Tell(Item{
			Kind: Trouble, What: storeFails, Title: "the store cannot be read", Text: clean(err.Error()),
			Do: "Keys that were handed out keep working. Look at the store.",
		})
		return
	}
	found := []entry{{Item: Item{At: n.now()}, over: func(_, what string) bool { return what == storeFails }}}
	if w.Clock.Settle(ctx) { // otherwise nobody knows who is late
		now := w.Clock.Now().UTC()
		for _, e := range all {
			found = append(found, w.troubles(e.Record, now)...)
		}
		found = append(found, entry{Item: Item{At: seen}, all: true, over: func(user, what string) bool {
			i, managed := slices.BinarySearchFunc(all, user, func(e *rotate.Entry, user string) int {
				return strings.Compare(e.Record.User, user)
			})
			return user != "" && (!managed || w.over(all[i].Record, what, now))
		}})
	}
	n.put(found...)
}

func (w *Watchdog) policy(user string) (p plan.Policy) {
	if w.Policy != nil {
		p = w.Policy(user)
	}
	return p
}

// troubles are those that a record tells of.
func (w *Watchdog) troubles(r plan.Record, now time.Time) (out []entry) {
	if since, late := plan.Overdue(r, w.policy(r.User), now); late && !r.Paused(now) {
		out = append(out, entry{Item: overdue(r.User, since, now)})
	}
	if r.Waiting != "" {
		out = append(out, entry{Item: held(Item{User: r.User, At: now}, r.Waiting)})
	}
	return out
}

// over reports whether a record tells that a trouble has ended.
func (w *Watchdog) over(r plan.Record, what string, now time.Time) bool {
	switch {
	case what == isOverdue:
		_, late := plan.Overdue(r, w.policy(r.User), now)
		return !late || r.Paused(now)
	case strings.HasPrefix(what, heldBy):
		return what != heldBy+string(r.Waiting)
	case strings.HasPrefix(what, failedTo):
		calm := r.Failures == 0
		for _, k := range r.Keys {
			calm = calm && k.Tries == 0
		}
		for _, t := range r.Targets {
			calm = calm && t.Tries == 0
		}
		return calm
	}
	return false
}
