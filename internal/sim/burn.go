package sim

import (
	"context"
	"errors"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// burnt is a key that an operator ordered to burn.
type burnt struct {
	user, secret string
	at           time.Time
}

// burns orders keys to be burned, the served one mostly, as an operator without
// AWS credentials does: the order is saved, and a daemon carries it out.
func (s *simulation) burns(ctx context.Context) {
	r := s.dice("burn", 0)
	for ctx.Err() == nil {
		pause(ctx, time.Duration(r.ExpFloat64()*float64(s.Faults.Burn)))
		user := userName(r.IntN(s.Users))
		if ctx.Err() != nil || s.isExcused(user) {
			continue
		}
		for range 5 {
			e, err := s.store.Load(ctx, user)
			if err != nil || len(e.Record.Keys) == 0 {
				break
			}
			k := e.Record.Keys[r.IntN(len(e.Record.Keys))]
			if cur := e.Record.In(plan.Current); cur != nil && r.IntN(3) > 0 {
				k = *cur
			}
			now := time.Now().UTC()
			e.Record, _ = e.Record.Ordered(plan.Order{Kind: plan.Burn, KeyID: k.ID, At: now, By: "operator"})
			e.Due = now
			s.note(func() { s.burned[k.ID] = burnt{user, e.Secrets[k.ID].Reveal(), now} })
			if _, err := s.store.Save(ctx, e); err == nil {
				s.note(func() { s.result.Burns++ })
				s.bereave(user, now)
				break
			}
			s.note(func() { delete(s.burned, k.ID) }) // ordered again, for what is Current by then
		}
	}
}

// bereave notes that the user may have nothing to hand out for a while: its
// leaked key dies after a minute, with or without a replacement.
func (s *simulation) bereave(user string, now time.Time) {
	s.note(func() { s.bereft[user] = now.Add(3*time.Hour + s.Policy.RotateEvery) })
}

func (s *simulation) isBurned(keyID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.burned[keyID]
	return ok
}

// judgePublication is called after a hand-out: the target holds the key, or one
// that is about to become Current, or the record knows that it does not and has
// the next attempt planned, at once or after one wait.
func (s *simulation) judgePublication(c rotate.Credential) {
	e, err := s.store.Load(context.Background(), c.User)
	cur := e.Record.In(plan.Current)
	if err != nil || cur == nil || cur.ID != c.KeyID {
		return // it has moved on
	}
	s.mu.Lock()
	has, recovering := s.holds[c.User], time.Now().Before(s.bereft[c.User])
	s.mu.Unlock()
	if other := e.Record.Key(has); has == c.KeyID || other != nil && other.Stage == plan.Pending {
		return
	}
	switch t := e.Record.Target("target"); {
	case t != nil && t.KeyID == c.KeyID:
		s.violation("published: %s: %s is served and recorded as published, but the target holds %q", c.User, c.KeyID, has)
	case t != nil && t.Again.After(time.Now().Add(time.Minute)):
		s.violation("published: %s: %s is served and not published, and nobody tries before %s", c.User, c.KeyID, t.Again)
	case s.quick && !recovering && time.Since(cur.Promoted) > 3*time.Minute:
		s.violation("published: %s: %s is served since %s and still not published", c.User, c.KeyID, cur.Promoted)
	}
}

// inspectBurns checks in the end that every burned key is dead.
func (s *simulation) inspectBurns() {
	for id, b := range s.burned {
		if err := s.aws.Use(id, b.secret); !s.isExcused(b.user) && !errors.Is(err, rotate.ErrRefused) {
			s.violation("burned: %s of %s still works %s after the order", id, b.user, time.Since(b.at))
		}
	}
}
