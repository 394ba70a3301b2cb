package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Run is the scheduler: it acts on users as they become due until ctx ends,
// then waits for the passes under way. A pass that hangs delays its own user
// only. The selection is read at the start and every Reselect, beside the passes;
// while it cannot be read, the last one that could be stays in force, also one
// that another process kept an hour ago at most, and before the first one nothing
// is done.
func (r *Rotator) Run(ctx context.Context) error {
	r.init()
	s := &scheduler{
		Rotator: r, busy: map[string]bool{}, seen: map[string]bool{}, slots: make(chan struct{}, r.Workers),
		freed: make(chan struct{}, 1), jobs: make(chan job),
	}
	defer s.wg.Wait()
	defer close(s.jobs)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.freed:
			s.start(ctx)
			continue
		case <-t.C:
		}
		if now := mono(); !now.Before(s.reselect) && !s.selected.fresh(s.now()) {
			if s.background("", func() { s.recall(ctx); s.enrolAll(ctx) }) {
				s.reselect = now.Add(s.again())
			}
		}
		switch {
		case !s.selected.known():
		case !r.Clock.Known(): // suspended meanwhile, for example
			s.background("\x00time", func() { r.Clock.Settle(ctx) })
		default:
			s.dispatch(ctx)
		}
		if r.Beat != nil {
			r.Beat()
		}
		t.Reset(r.Tick)
	}
}

// again is when the selection is read again whatever becomes of reading it now.
func (s *scheduler) again() time.Duration {
	if s.selected.known() {
		return s.Reselect
	}
	return min(s.Reselect, firstSelection)
}

// firstSelection is the pause between attempts to read the selection until one
// is known: nothing is done before.
const firstSelection = 10 * time.Second

type scheduler struct {
	*Rotator
	slots    chan struct{}
	freed    chan struct{} // a slot that was waited for is free again
	waiting  atomic.Bool   // for a slot
	backlog  []string      // users that are due and wait for a slot
	jobs     chan job      // to goroutines that have nothing to do
	wg       sync.WaitGroup
	reselect time.Time

	mu   sync.Mutex
	busy map[string]bool // users a pass is under way for; "" the selection
	told map[string]string

	missing string // selected names that do not exist, as told

	reconciled bool            // everybody was looked at since the start
	seen       map[string]bool // who was
}

// job is what a goroutine does for a user.
type job struct {
	user string
	do   func()
}

// background runs f unless one for the same user is under way: on a goroutine
// that has done its last job, whose stack has grown already, or on a new one.
// It reports whether f runs.
func (s *scheduler) background(user string, f func()) bool {
	s.mu.Lock()
	if s.busy[user] {
		s.mu.Unlock()
		return false
	}
	s.busy[user] = true
	s.mu.Unlock()
	j := job{user, f}
	select {
	case s.jobs <- j:
	default:
		s.wg.Go(func() { s.work(j) })
	}
	return true
}

// work does the job and then whatever else there is until Run ends.
func (s *scheduler) work(j job) {
	for ok := true; ok; j, ok = <-s.jobs {
		j.do()
		s.mu.Lock()
		delete(s.busy, j.user)
		s.mu.Unlock()
	}
}

// dispatch reads who is due and starts as many passes as workers are free.
func (s *scheduler) dispatch(ctx context.Context) {
	due, err := s.due(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("reading the due index", "err", err)
		}
		return
	}
	if now := s.now(); s.started.Load() == nil {
		s.started.Store(&now)
	}
	s.backlog = due
	s.start(ctx)
}

// start starts passes over the backlog while workers are free. The rest goes on
// as they become free, not only at the next tick.
func (s *scheduler) start(ctx context.Context) {
	for len(s.backlog) > 0 && ctx.Err() == nil {
		user := s.backlog[0]
		s.mu.Lock()
		busy := s.busy[user]
		s.mu.Unlock()
		if !busy {
			if !s.slot() {
				return
			}
			anyway := !s.reconciled
			if anyway {
				s.seen[user] = true
			}
			s.background(user, func() {
				given := false
				free := func() {
					if !given {
						given = true
						s.free()
					}
				}
				defer free()
				s.pass(ctx, user, way{free: free, anyway: anyway})
			})
		}
		s.backlog = s.backlog[1:]
	}
}

// slot takes a slot if one is free. Otherwise, whoever frees one will say so.
func (s *scheduler) slot() bool {
	for range 2 { // one may have become free before it was known that it is waited for
		select {
		case s.slots <- struct{}{}:
			return true
		default:
			s.waiting.Store(true)
		}
	}
	return false
}

// free gives a slot back, and says so if it is waited for.
func (s *scheduler) free() {
	<-s.slots
	if !s.waiting.Swap(false) {
		return
	}
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// due returns who to look at: everybody once after the start, whatever
// happened while nobody looked, then those that are due.
func (s *scheduler) due(ctx context.Context) ([]string, error) {
	if s.reconciled {
		n, asleep := s.sleepers()
		users, err := s.Store.Due(ctx, s.now(), 16*s.Workers+n)
		users = slices.DeleteFunc(users, func(u string) bool { return asleep[u] })
		return failedLast(s.Rotator, users, func(u string) string { return u }), err
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, e := range all {
		if !s.seen[e.Record.User] {
			users = append(users, e.Record.User)
		}
	}
	s.reconciled = len(users) == 0
	return users, nil
}

// unknown reports whether err says that IAM does not know a selected name, and
// tells so when that is news.
func (s *scheduler) unknown(err error) bool {
	text := ""
	if errors.Is(err, ErrNoUser) {
		text = err.Error()
	}
	if text != "" && s.missing != text {
		s.Log.Warn("a selected user does not exist", "err", err)
	}
	s.missing = text
	return text != ""
}

// enrolAll reads the selection and enrols who is new.
func (s *scheduler) enrolAll(ctx context.Context) {
	users, err := s.choose(ctx, nil)
	if s.unknown(err) && len(users) > 0 {
		err = nil // one deleted user must not stop the rotation of the others
	}
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("nobody new is managed until the selection can be read", "err", err)
		}
		return
	}
	s.keep(ctx)
	known, err := s.Store.List(ctx)
	if err != nil {
		s.Log.Error("listing the store", "err", err)
		return
	}
	byName, byID := make(map[string]Entry, len(known)), make(map[string]bool, len(known))
	for _, e := range known {
		byName[e.Record.User] = e
		byID[e.Record.UserID] = true
	}
	told := map[string]string{}
	for _, u := range users {
		e, have := byName[u.Name]
		taken := have && e.Record.Renamed != "" && u.ID != "" && !e.Record.Is(u.ID)
		if have && !taken || u.ID != "" && byID[u.ID] || ctx.Err() != nil {
			continue
		}
		err := error(nil)
		if taken {
			err = fmt.Errorf("user %q: %w: %q was called so", u.Name, ErrNameTaken, e.Record.Renamed)
		} else {
			_, err = s.enrol(ctx, u, known, false)
		}
		if err != nil {
			told[u.Name] = err.Error()
			if s.told[u.Name] != err.Error() {
				s.Log.Warn("user is not managed", "user", u.Name, "err", err, "foreign", errors.Is(err, ErrForeignKey))
			}
		}
	}
	s.told = told
}
