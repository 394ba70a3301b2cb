package rotate

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// ActionLate is the action of the event that says that hand-outs were recorded
// late.
const ActionLate = "handouts_late"

const (
	lateLimit   = 10_000      // different hand-outs that are kept
	latePause   = time.Second // between attempts while recording fails
	lateWriters = 64          // lines written side by side: they share a sync
)

// Late is an audit log that lets hand-outs pass while the log behind it, or the
// index of hand-outs, fails: it keeps them in memory, has them recorded before
// anything else once it can, and then records an event that tells of the gap.
// All other events fail as the log does, so that nothing is changed without a
// record. If the process ends first, a hand-out that was kept is in the
// process's own log only. Safe for concurrent use.
type Late struct {
	Audit    Audit
	Handouts Handouts         // nil: nobody remembers who holds what
	Log      *slog.Logger     // default: nobody is told
	Now      func() time.Time // for the event that tells of the gap; default time.Now

	patience patience
	turn     sync.Mutex // held by whoever records what was kept

	mu    sync.Mutex
	kept  map[recipient]*unrecorded
	busy  int // those that are being recorded now
	gap   gap
	late  int       // hand-outs that were recorded late
	next  time.Time // no attempt before, by the monotonic clock
	cause error     // of the latest failure; nil: there is none
}

// recipient is who was given what.
type recipient struct {
	caller, addr, user, key string
	audited                 bool // only the index lacks it
}

// unrecorded are equal hand-outs.
type unrecorded struct {
	event Event // the first of them, with the latest Expiration
	last  time.Time
	count int
}

// gap is what has been recorded late and not been told yet.
type gap struct {
	handouts    int
	first, last time.Time
	cause       error
}

var _ Audit = (*Late)(nil)

// Append implements [Audit]. What was kept is recorded first; what only the
// index lacks holds nothing up.
func (l *Late) Append(ctx context.Context, e Event) error {
	if err := l.Flush(ctx); err != nil && l.lacking() {
		return err
	}
	return l.Audit.Append(ctx, e)
}

// lacking reports whether the log lacks any hand-out.
func (l *Late) lacking() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.kept {
		if !r.audited {
			return true
		}
	}
	return false
}

// Handout records that a key was handed out until e.Due, or keeps that until it
// can be recorded. The caller has made sure that the key works until then
// whether or not anything is recorded: its promise is saved. An error means
// that the key must not be handed out.
func (l *Late) Handout(ctx context.Context, e Event) error {
	r := recipient{caller: e.Caller, addr: e.Addr, user: e.User, key: e.Key}
	if !l.pausing() {
		attempt, cancel := l.patience.bound(ctx)
		defer cancel()
		err := l.Flush(attempt)
		if err == nil {
			err = l.record(attempt, e, &r.audited)
		}
		if err == nil || ctx.Err() != nil { // recorded, or who asked is gone
			return err
		}
		l.failed(err)
	}
	return l.keep(r, e)
}

// record records a hand-out in the log, unless it is there, and in the index.
func (l *Late) record(ctx context.Context, e Event, audited *bool) error {
	if !*audited {
		if err := l.Audit.Append(ctx, e); err != nil {
			return fmt.Errorf("auditing the hand-out: %w", err)
		}
		*audited = true
	}
	if l.Handouts == nil {
		return nil
	}
	if err := l.Handouts.RecordHandout(ctx, e.Caller, e.User, e.Key, e.Addr, e.Time); err != nil {
		return fmt.Errorf("noting the hand-out: %w", err)
	}
	return nil
}

// pausing reports whether an attempt failed a moment ago.
func (l *Late) pausing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause != nil && time.Now().Before(l.next) //nolint:forbidigo // a pause, not a deadline
}

func (l *Late) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cause, l.next = err, time.Now().Add(latePause) //nolint:forbidigo // a pause, not a deadline
}

func (l *Late) keep(r recipient, e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.kept[r]; u != nil {
		u.add(unrecorded{e, e.Time, 1})
		return nil
	}
	if len(l.kept) >= lateLimit {
		return fmt.Errorf("%d hand-outs wait to be recorded: %w", len(l.kept), l.cause)
	}
	l.put(r, &unrecorded{e, e.Time, 1})
	// Should the process end before the disk is back, this is what is left.
	l.log().Warn("hand-out is not on record yet", "user", e.User, "key", ShortID(e.Key), "caller", e.Caller, "addr", e.Addr,
		"until", e.Due, "err", l.cause)
	return nil
}

// put keeps u, also beside equal ones. mu is held.
func (l *Late) put(r recipient, u *unrecorded) {
	if l.kept == nil {
		l.kept = map[recipient]*unrecorded{}
	}
	if there := l.kept[r]; there != nil {
		u.add(*there)
	}
	l.kept[r] = u
}

// add adds later hand-outs.
func (u *unrecorded) add(v unrecorded) {
	u.count, u.last = u.count+v.count, v.last
	if v.event.Due.After(u.event.Due) {
		u.event.Due = v.event.Due
	}
}

// line is the hand-outs in one event.
func (u *unrecorded) line() Event {
	e := u.event
	if u.count > 1 {
		e.Reason = fmt.Sprintf("%d times until %s", u.count, u.last.Format(time.RFC3339))
	}
	return e
}

// Flush records what was kept, if anything was, and then that it is late.
func (l *Late) Flush(ctx context.Context) error {
	if l.Waiting() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	l.turn.Lock()
	defer l.turn.Unlock()
	l.mu.Lock()
	kept, cause := l.kept, l.cause
	l.kept, l.busy = nil, len(l.kept)
	l.mu.Unlock()
	err := l.recordAll(ctx, kept, cause)
	l.mu.Lock()
	untold := l.gap
	l.mu.Unlock()
	if err == nil && untold.handouts > 0 {
		err = l.Audit.Append(ctx, untold.event(l.now()))
	}
	if err != nil {
		l.failed(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gap, l.cause = (gap{}), nil; untold.handouts > 0 {
		l.log().Warn("hand-outs are on record, late", "handouts", untold.handouts, "since", untold.first)
	}
	return nil
}

// recordAll records what was kept and keeps the rest.
func (l *Late) recordAll(ctx context.Context, kept map[recipient]*unrecorded, cause error) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(kept))
	slots := make(chan struct{}, lateWriters)
	for r, u := range kept {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			now, done := r, false
			if len(errs) == 0 { // otherwise the next attempt will do
				err := l.record(ctx, u.line(), &now.audited)
				if done = err == nil; !done {
					errs <- err
				}
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.busy--
			if now.audited && !r.audited {
				l.gap.add(u, cause)
				l.late += u.count
			}
			if !done {
				l.put(now, u)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func (g *gap) add(u *unrecorded, cause error) {
	if g.handouts == 0 || u.event.Time.Before(g.first) {
		g.first = u.event.Time
	}
	if u.last.After(g.last) {
		g.last = u.last
	}
	g.handouts += u.count
	if cause != nil {
		g.cause = cause
	}
}

func (g *gap) event(now time.Time) Event {
	return Event{Time: now, Action: ActionLate, Actor: "audit", Result: "ok", Reason: fmt.Sprintf(
		"%d hand-outs between %s and %s are recorded late: %v", g.handouts, g.first.Format(time.RFC3339), g.last.Format(time.RFC3339), g.cause)}
}

// Run records what was kept as soon as that is possible, until ctx ends.
func (l *Late) Run(ctx context.Context) error {
	t := time.NewTicker(latePause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if !l.pausing() {
			_ = l.Flush(ctx) // what fails is tried again
		}
	}
}

// Close tries to record what was kept for the last time. What it cannot record
// is lost to the audit log.
func (l *Late) Close(ctx context.Context) error {
	err := l.Flush(ctx)
	n := l.Waiting()
	if err == nil || n == 0 {
		return nil
	}
	return fmt.Errorf("%d hand-outs are not in the audit log, only in this process's own: %w", n, err)
}

// Waiting returns how many different hand-outs wait to be recorded.
func (l *Late) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.kept) + l.busy
	if l.gap.handouts > 0 {
		n = max(n, 1) // the event that tells of it is still to come
	}
	return n
}

// Recorded returns how many hand-outs were recorded late.
func (l *Late) Recorded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.late
}

func (l *Late) log() *slog.Logger {
	if l.Log != nil {
		return l.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (l *Late) now() time.Time {
	if l.Now != nil {
		return l.Now().UTC()
	}
	return time.Now().UTC() //nolint:forbidigo // the default of the field
}
