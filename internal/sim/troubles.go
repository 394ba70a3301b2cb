package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func userName(i int) string { return fmt.Sprintf("app-%03d", i) }

// troubles returns what other people and machines do to the users meanwhile.
func (s *simulation) troubles() []func(context.Context) {
	var all []func(context.Context)
	if s.Faults.Foreign > 0 {
		all = append(all, s.foreigners, s.clashes)
	}
	if s.Faults.Burn > 0 {
		all = append(all, s.burns)
	}
	if s.Faults.Restore > 0 {
		all = append(all, s.restores)
	}
	if s.Faults.Vanish > 0 {
		all = append(all, s.vanishing)
	}
	return all
}

// foreigners creates keys by hand, and takes them away again after a while. A
// user that has one cannot be rotated meanwhile, but must be served.
func (s *simulation) foreigners(ctx context.Context) {
	r := s.dice("foreign", 0)
	for ctx.Err() == nil {
		pause(ctx, time.Duration(r.ExpFloat64()*float64(s.Faults.Foreign)))
		user := userName(r.IntN(s.Users))
		id, err := s.aws.Plant(user)
		if err != nil {
			continue // both slots are taken
		}
		made := time.Now()
		pause(ctx, 10*time.Second) // until an intent that had not seen the key would be there
		until := time.Now().Add(time.Duration(r.ExpFloat64() * float64(20*time.Minute)))
		if s.ambiguous(user, made) {
			s.guard(ctx, user, id, until)
		} else {
			s.note(func() { s.foreign[id] = true })
			pause(ctx, time.Until(until))
		}
		s.note(func() { delete(s.foreign, id) })
		s.aws.Uproot(user, id)
	}
}

// clashes creates keys by hand just when a call of keyrot's was lost: the worst
// moment that there is.
func (s *simulation) clashes(ctx context.Context) {
	r := s.dice("clash", 0)
	for ctx.Err() == nil {
		pause(ctx, 3*time.Second)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		for _, user := range s.lost(now) {
			if s.isExcused(user) || r.IntN(3) > 0 {
				continue
			}
			if id, err := s.aws.Plant(user); err == nil {
				s.guard(ctx, user, id, now.Add(time.Duration(r.ExpFloat64()*float64(20*time.Minute))))
				s.note(func() { delete(s.foreign, id) })
				s.aws.Uproot(user, id)
				break
			}
		}
	}
}

// lost returns the users for which the answer of a call has been missing for a
// while.
func (s *simulation) lost(now time.Time) (users []string) {
	s.store.Look(func(r plan.Record) {
		if slices.ContainsFunc(r.Intents, func(in plan.Intent) bool {
			return now.Sub(in.At) > 5*time.Second && now.Before(in.Until)
		}) {
			users = append(users, r.User)
		}
	})
	return users
}

// guard is what the owner of a key does that was made by hand while keyrot's
// own call was lost. As long as nobody uses it, nothing tells it from keyrot's,
// so it may be made inactive, once; but when its owner has made it active
// again, it must be left alone, and it must never be deleted before.
func (s *simulation) guard(ctx context.Context, user, id string, until time.Time) {
	for ctx.Err() == nil && time.Now().Before(until) {
		pause(ctx, 5*time.Second)
		i := slices.IndexFunc(s.aws.Truth(user), func(k plan.Key) bool { return k.ID == id })
		if i < 0 {
			if !s.isExcused(user) { // then it was somebody else
				s.violation("ours only: %s: %s was deleted although its owner keeps it active", user, id)
			}
			return
		}
		if s.aws.Truth(user)[i].Status == plan.Active {
			continue
		}
		s.aws.Switch(user, id, plan.Active)
		s.note(func() { s.result.Reclaimed++ })
		if e, err := s.store.Load(context.Background(), user); err == nil && marked(e.Record, id) {
			s.note(func() { s.foreign[id] = true })
		}
	}
}

// marked reports whether the record says that the key was made inactive. If it
// does not, keyrot does not know whether its call took effect.
func marked(r plan.Record, id string) bool {
	return slices.ContainsFunc(r.Orphans, func(t plan.Tombstone) bool { return t.ID == id })
}

// vanishing deletes users with all their keys and makes them again under the
// same name: strangers, which keyrot must leave alone.
func (s *simulation) vanishing(ctx context.Context) {
	r := s.dice("vanish", 0)
	for ctx.Err() == nil {
		pause(ctx, time.Duration(r.ExpFloat64()*float64(s.Faults.Vanish)))
		if ctx.Err() != nil {
			return
		}
		user := userName(r.IntN(s.Users))
		s.excuse(user, 1000*24*time.Hour) // somebody else took the keys away, for good
		for _, k := range s.aws.Truth(user) {
			s.note(func() { delete(s.promised, k.ID) })
			s.aws.Uproot(user, k.ID)
		}
		pause(ctx, 10*time.Second)
		if s.aws.DeleteUser(user) == nil {
			s.aws.AddUser(user, "/app/", nil)
		}
	}
}

// ambiguous reports whether a key that was made at the given instant lies in
// the window of a call of keyrot whose outcome is unknown.
func (s *simulation) ambiguous(user string, made time.Time) bool {
	e, err := s.store.Load(context.Background(), user)
	if err != nil {
		return false
	}
	slack := s.Policy.Skew + 2*time.Second
	for _, in := range e.Record.Intents {
		if made.After(in.At.Add(-slack)) && made.Before(in.Until.Add(slack)) {
			return true
		}
	}
	return false
}

func (s *simulation) isExcused(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.excused[user])
}

// excuse marks a user whose keys somebody else is about to spoil.
func (s *simulation) excuse(user string, d time.Duration) {
	s.note(func() { s.excused[user] = time.Now().Add(d) })
}
