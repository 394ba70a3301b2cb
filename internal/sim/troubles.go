package sim

import (
	"context"
	"time"
)

// troubles returns what other people and machines do to the users meanwhile.
func (s *simulation) troubles() []func(context.Context) {
	var all []func(context.Context)
	if s.Faults.Foreign > 0 {
		all = append(all, s.foreigners)
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
		if s.ambiguous(user, made) {
			// Made by hand while keyrot's own call was lost, and never used:
			// nothing tells it from keyrot's. The one case in which a foreign
			// key may be taken for an orphan; see docs/limits.md.
			s.aws.Uproot(user, id)
			continue
		}
		s.note(func() { s.foreign[id] = true })
		pause(ctx, time.Duration(r.ExpFloat64()*float64(20*time.Minute)))
		s.note(func() { delete(s.foreign, id) })
		s.aws.Uproot(user, id)
	}
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
