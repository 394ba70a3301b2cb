package sim

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// house is what an operator can stop: every daemon, and the server that hands
// out.
type house struct {
	closed bool
	opened time.Time                     // again, after a restoration
	stop   map[string]context.CancelFunc // by daemon
}

// life returns the context of a daemon's life, once daemons may run.
func (s *simulation) life(ctx context.Context, name string, d time.Duration) (context.Context, context.CancelFunc) {
	s.waitUntilOpen(ctx)
	run, cancel := context.WithTimeout(ctx, d)
	s.note(func() {
		if s.house.stop == nil {
			s.house.stop = map[string]context.CancelFunc{}
		}
		s.house.stop[name] = cancel
	})
	return run, func() {
		cancel()
		s.note(func() { delete(s.house.stop, name) })
	}
}

func (s *simulation) waitUntilOpen(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		closed := s.house.closed
		s.mu.Unlock()
		if !closed {
			return
		}
		pause(ctx, time.Second)
	}
}

// restores copies the store every few minutes, and puts an older copy in place
// now and then, as docs/restore.md says: everything is stopped, the operator
// orders every user with unknown keys to be recovered, and all is started again.
func (s *simulation) restores(ctx context.Context) {
	r := s.dice("restore", 0)
	copies := []map[string]rotate.Entry{{}} // of before anybody was enrolled
	next := time.Now().Add(s.recoveryBound() + time.Duration(r.ExpFloat64()*float64(s.Faults.Restore)))
	for ctx.Err() == nil {
		pause(ctx, time.Duration(r.Int64N(int64(8*time.Minute))))
		if c, err := s.copyStore(ctx); err == nil {
			copies = append(copies, c)
		}
		if time.Now().Before(next) || ctx.Err() != nil {
			continue
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < 15*time.Minute+s.recoveryBound() {
			return // the operator would not be done before the end, which is judged
		}
		if s.quick && len(copies) > 1 {
			s.judgeRecovered()
		}
		i := r.IntN(len(copies)) // of any age
		if r.IntN(2) == 0 {
			i = max(0, len(copies)-1-r.IntN(4)) // of some minutes ago
		}
		s.restore(ctx, r, copies[i])
		copies = copies[:i+1]
		next = time.Now().Add(s.recoveryBound() + time.Duration(r.ExpFloat64()*float64(s.Faults.Restore)))
	}
}

// judgeRecovered is called when everything should be as usual since the last
// restoration: every user is on time, but for one whose target fails right now.
func (s *simulation) judgeRecovered() {
	now := time.Now()
	s.store.Look(func(rec plan.Record) {
		t := rec.Target("target")
		if since, late := plan.Overdue(rec, s.policyOf(rec.User), now); late && (t == nil || t.Tries == 0) {
			s.violation("on time: %s is overdue since %s although its keys were recovered", rec.User, since.Format(time.TimeOnly))
		}
	})
}

// recoveryBound is how long after an order to recover everything is as usual
// again. What may be promised for a lost key ends at its age of DeactivateAfter,
// or RotateEvery after the order if it was served for longer; in both cases the
// key has left its place DeleteAfter after the order. So has one of the copy that
// AWS does not know or accept any more, which is given up after RotateEvery at
// the latest. A new key is made then, and what was promised until then for the
// one that it replaces does not outlast the next slot, as
// far as it is told to readers of targets: the next rotation is on time, and so are all that
// follow. Five minutes are for what the world adds: a daemon starts again within
// one, a list is 90 s old, a key is accepted, settled and published within one.
// If AWS has troubles, those last, too.
func (s *simulation) recoveryBound() time.Duration {
	bound := s.Policy.DeleteAfter + 5*time.Minute
	if !s.quick {
		bound += 3 * time.Hour
	}
	return bound
}

func (s *simulation) copyStore(ctx context.Context) (map[string]rotate.Entry, error) {
	all := map[string]rotate.Entry{}
	es, err := s.store.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		if all[e.Record.User], err = s.store.Load(ctx, e.Record.User); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *simulation) restore(ctx context.Context, r *rand.Rand, old map[string]rotate.Entry) {
	s.note(func() {
		s.house.closed = true
		for _, stop := range s.house.stop {
			stop()
		}
	})
	pause(ctx, 2*time.Minute+time.Duration(r.Int64N(int64(10*time.Minute)))) // until the copy is there
	for i := range s.Users {
		e, known := old[userName(i)]
		if r.IntN(10) == 0 {
			known = false // enrolled after the copy was made
		}
		if err := s.putBack(ctx, userName(i), e, known); err != nil && ctx.Err() == nil {
			s.violation("restoring %s: %v", userName(i), err)
		}
	}
	s.operate(ctx)
	s.note(func() {
		s.result.Restores++
		s.house.closed, s.house.opened = false, time.Now()
	})
}

// putBack replaces the user's entry by that of the copy.
func (s *simulation) putBack(ctx context.Context, user string, e rotate.Entry, known bool) error {
	now, err := s.store.Load(ctx, user)
	if err != nil && !errors.Is(err, rotate.ErrNotFound) {
		return err
	}
	if known {
		e.Version = now.Version
		_, err = s.store.Save(ctx, e)
		return err
	}
	return s.store.Remove(ctx, user, now.Version)
}

// operate is what the operator does before anything is started: whatever fails
// is tried again.
func (s *simulation) operate(ctx context.Context) {
	p := &process{simulation: s, name: "operator", r: s.dice("operator", 0)}
	p.crash.Store(time.Now().Add(10 * s.For).UnixNano())
	rot := p.rotator()
	tell := time.Now().Add(s.recoveryBound())
	told := false
	for began := time.Now(); ctx.Err() == nil; {
		losses, err := rot.Losses(ctx, nil)
		failed := err != nil
		last := err
		for _, l := range losses {
			if s.isExcused(l.User.Name) {
				continue
			}
			if l.Err != nil {
				failed, last = true, l.Err
				continue
			}
			s.note(func() { s.lacking[l.User.Name] = tell })
			if err := s.recover(ctx, rot, l); err != nil {
				failed, last = true, err
			}
		}
		if !failed {
			return
		}
		if time.Since(began) > 6*time.Hour && !told && ctx.Err() == nil { // no trouble lasts as long
			s.violation("on time: an operator cannot have the users recovered: %v", last)
			told = true
		}
		pause(ctx, 20*time.Second)
	}
}

// recover has what keyrot made replaced; the operator knows what that is.
func (s *simulation) recover(ctx context.Context, rot *rotate.Rotator, l rotate.Loss) error {
	s.mu.Lock()
	ours := slices.DeleteFunc(slices.Clone(l.Keys), func(k plan.Key) bool { return s.foreign[k.ID] })
	l.Lost = slices.DeleteFunc(append(l.Lost, l.Unclear...), func(id string) bool { return s.foreign[id] })
	s.mu.Unlock()
	if len(l.Lost) == 0 && !l.Bereft {
		return nil
	}
	room := ""
	if l.Full {
		if room = l.Idle(); room == "" && len(ours) > 0 { // one that does not work, or of two that do the older
			room = slices.MinFunc(ours, func(a, b plan.Key) int {
				return cmp.Or(cmp.Compare(b.Status, a.Status), a.Created.Compare(b.Created)) // "Inactive" is after "Active"
			}).ID
		}
	}
	o, err := rot.Recover(ctx, l, room, "operator")
	if err != nil {
		return err
	}
	rep, err := rot.Obey(ctx, l.User.Name, o, 0) // what takes longer is done by the daemons
	if errors.Is(err, rotate.ErrOrderOpen) && rep.Err == nil {
		return nil
	}
	return err
}
