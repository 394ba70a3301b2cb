package rotate

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	s := &scheduler{Rotator: r, busy: map[string]bool{}, freed: make(chan struct{}, 1), jobs: make(chan job)}
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
	freed    chan struct{} // a pass that was waited for is over
	waiting  atomic.Bool   // for one
	backlog  backlog
	listed   bool     // who is looked at once after the start is known
	jobs     chan job // to goroutines that have nothing to do
	wg       sync.WaitGroup
	reselect time.Time

	mu       sync.Mutex
	busy     map[string]bool // users a pass is under way for; "" the selection
	passes   int             // under way
	creating int             // of them, those that make a key and whose turn has not come
	told     map[string]string

	missing string // selected names that do not exist, as told
}

// backlog are users for whom a pass waits for room, in this order.
type backlog struct {
	due       []string
	creations []string // they are due, but only for a new key
	others    []string // not due: everybody is looked at once after the start
}

// ahead is how many users more than there are passes are read from the due index,
// so that there is work until the next tick.
const ahead = 512

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

// dispatch reads who is due and starts as many passes as there is room for.
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

// start starts passes over the backlog while there is room. The rest goes on as
// others end, not only at the next tick.
func (s *scheduler) start(ctx context.Context) {
	b := &s.backlog
	b.due = s.startAll(ctx, b.due, way{defers: true})
	b.creations = s.startAll(ctx, b.creations, way{creates: true})
	b.others = s.startAll(ctx, b.others, way{defers: true, anyway: true})
}

// startAll returns those for whom there was no room.
func (s *scheduler) startAll(ctx context.Context, users []string, w way) []string {
	waits := 0
	if w.creates {
		waits = 1
	}
	for i, user := range users {
		if ctx.Err() != nil || !s.room(w.creates) {
			return users[i:]
		}
		s.count(1, waits)
		w := w
		w.begun = sync.OnceFunc(func() { s.count(0, -waits) })
		end := func() { w.begun(); s.count(-1, 0) }
		if !s.background(user, func() { defer end(); s.pass(ctx, user, w) }) {
			end()
		}
	}
	return nil
}

// room reports whether one more pass may begin. Otherwise, one that makes room
// will say so. Of those that make a key only a few wait for their turn at once:
// what is more urgent must find room.
func (s *scheduler) room(creates bool) bool {
	for range 2 { // one may have ended before it was known that it is waited for
		s.mu.Lock()
		room := s.passes < crowd && (!creates || s.creating < s.gates.begin.size)
		s.mu.Unlock()
		if room {
			return true
		}
		s.waiting.Store(true)
	}
	return false
}

// count changes how many passes are under way, and says so if that is waited for.
func (s *scheduler) count(passes, creating int) {
	s.mu.Lock()
	s.passes += passes
	s.creating += creating
	s.mu.Unlock()
	if passes+creating > 0 || !s.waiting.Swap(false) {
		return
	}
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// due returns who to look at: those that are due, and everybody else once after
// the start, whatever happened while nobody looked. The store is listed once for
// that.
func (s *scheduler) due(ctx context.Context) (b backlog, err error) {
	n, asleep := s.sleepers()
	s.mu.Lock()
	limit, full := s.passes+ahead+n, s.creating >= s.gates.begin.size
	s.mu.Unlock()
	read := func(creates bool) []string {
		users, failed := s.Store.Due(ctx, s.now(), creates, limit)
		err = errors.Join(err, failed)
		users = slices.DeleteFunc(users, func(u string) bool { return asleep[u] })
		return failedLast(s.Rotator, users, func(u string) string { return u })
	}
	b.creations, b.others = s.backlog.creations, s.backlog.others
	if b.due = read(false); !full && err == nil {
		b.creations = read(true)
	}
	if err != nil || s.listed {
		return b, err
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return b, err
	}
	for _, e := range all {
		if e.Due.After(s.now()) {
			b.others = append(b.others, e.Record.User)
		}
	}
	s.listed = true
	return b, nil
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

// enrolAll reads the selection and enrols who is new. It runs once a minute, so
// that the store is not listed for it: see [Roster].
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
	known, _, err := s.Roster.All(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("reading who is managed", "err", err)
		}
		return
	}
	byName, byID := make(map[string]*Entry, len(known)), make(map[string]bool, len(known))
	for _, e := range known {
		byName[e.Record.User] = e
		byID[e.Record.UserID] = true
	}
	failed := map[string]error{}
	var strangers []User
	for _, u := range users {
		e, have := byName[u.Name]
		switch {
		case u.ID != "" && byID[u.ID]:
		case have && e.Record.Renamed != "" && u.ID != "" && !e.Record.Is(u.ID):
			failed[u.Name] = fmt.Errorf("user %q: %w: %q was called so", u.Name, ErrNameTaken, e.Record.Renamed)
		case !have:
			strangers = append(strangers, u)
		}
	}
	maps.Copy(failed, s.enrolEach(ctx, strangers, known))
	if ctx.Err() != nil {
		return
	}
	told := make(map[string]string, len(failed))
	for _, u := range users {
		err := failed[u.Name]
		if err == nil {
			continue
		}
		told[u.Name] = err.Error()
		if s.told[u.Name] != err.Error() {
			s.Log.Warn("user is not managed", "user", u.Name, "err", err, "foreign", errors.Is(err, ErrForeignKey))
		}
	}
	s.told = told
}

// enrolments is how many users are enrolled at once: few enough that the passes
// over those who are need not wait behind many reads.
const enrolments = 16

// enrolEach enrols users side by side, says how far it has come if that takes
// long, and returns who could not be enrolled.
func (s *scheduler) enrolEach(ctx context.Context, users []User, known []*Entry) map[string]error {
	var mu sync.Mutex
	failed := map[string]error{}
	progress := NewProgress(len(users))
	defer progress.Every(tellProgress, func() { s.Log.Info("enrolling users", "done", progress.String()) })()
	slots := make(chan struct{}, enrolments)
	s.each(ctx, len(users), func(i int) {
		slots <- struct{}{}
		defer func() { <-slots }()
		_, err := s.enrolInTurn(ctx, users[i], known, false)
		progress.Add(1)
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			failed[users[i].Name] = err
		}
	})
	return failed
}
