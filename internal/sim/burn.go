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
	served       bool // then
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
			cur := e.Record.In(plan.Current)
			if cur != nil && r.IntN(3) > 0 {
				k = *cur
			}
			now := time.Now().UTC()
			if s.isBurned(k.ID) {
				break // the first order stands
			}
			e.Record, _ = e.Record.Ordered(plan.Order{Kind: plan.Burn, KeyID: k.ID, At: now, By: "operator"})
			e.Due = now
			s.note(func() { s.burned[k.ID] = burnt{user, e.Secrets[k.ID].Reveal(), now, cur != nil && cur.ID == k.ID} })
			if _, err := s.store.Save(ctx, e); err == nil {
				s.note(func() {
					s.result.Burns++
					if cur != nil && cur.ID == k.ID {
						s.bereft[user] = now
					}
				})
				break
			}
			s.note(func() { delete(s.burned, k.ID) }) // ordered again, for what is Current by then
		}
	}
}

// replacement is how long it may take until a user whose served key leaked has
// another one, with nothing in the way: the minute of the burn, until AWS refuses
// the key, what a list may lag, calls and proofs of up to two minutes. With
// faults it counts from the latest one on, and adds what those leave behind: a
// lost call with its quarantine, and the lease and the rest of a process.
func (s *simulation) replacement() time.Duration {
	p := s.Policy
	d := time.Minute + 30*time.Second + p.Lag*3/2 + p.Settle + 2*time.Minute
	if !s.quick {
		d += 2*p.CallTimeout + p.Lag + p.Quarantine() + p.Lag*3/2 + 2*time.Minute
	}
	return d
}

// trouble notes that something failed for the user, or for everybody ("").
func (s *simulation) trouble(user string) {
	s.note(func() { s.troubled[user] = time.Now() })
}

// troubledBy passes on err, and notes what failed.
func (s *simulation) troubledBy(user string, err error) error {
	if err != nil && !errors.Is(err, rotate.ErrRefused) && !errors.Is(err, rotate.ErrConflict) && !errors.Is(err, rotate.ErrLeased) {
		s.trouble(user)
	}
	return err
}

// calmSince is since when nothing failed that concerns the user. Somebody else's
// key in one of its slots is as bad as a failure.
func (s *simulation) calmSince(user string) time.Time {
	e, err := s.store.Load(context.Background(), user)
	for _, k := range s.aws.Truth(user) {
		if err != nil || e.Record.Key(k.ID) == nil {
			s.trouble(user)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.troubled[user]
	if all := s.troubled[""]; all.After(since) {
		since = all
	}
	return since
}

// isBereft reports whether the user may have nothing to be handed out: its served
// key leaked or was lost, and the time for a replacement is not over.
func (s *simulation) isBereft(user string) bool {
	calm := s.calmSince(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	since, ok := s.bereft[user]
	if calm.After(since) {
		since = calm
	}
	return ok && time.Since(since) < s.replacement() || time.Now().Before(s.lacking[user])
}

// promoted ends that, once another key is served.
func (s *simulation) promoted(user, keyID string) {
	if _, burned := s.burned[keyID]; !burned {
		delete(s.bereft, user)
	}
}

// mayFail judges a refusal of a burned key: not before its minute is over, unless
// another key has taken its place.
func (s *simulation) mayFail(user, keyID string) bool {
	s.mu.Lock()
	b, burned := s.burned[keyID]
	s.mu.Unlock()
	if !burned {
		return false
	}
	e, err := s.store.Load(context.Background(), user)
	cur := e.Record.In(plan.Current)
	replaced := cur != nil && cur.ID != keyID
	if err == nil && b.served && !replaced && time.Since(b.at) < 55*time.Second && !s.isExcused(user) { // clocks differ a little
		s.violation("served works: %s: %s was refused %s after it was to be burned, and nothing has replaced it", user, keyID, time.Since(b.at))
	}
	return true
}

// mustFail judges that a key works: not for long after it was to be burned.
func (s *simulation) mustFail(user, keyID string) {
	s.mu.Lock()
	b, burned := s.burned[keyID]
	s.mu.Unlock()
	if !burned {
		return
	}
	since := b.at
	if calm := s.calmSince(user); calm.After(since) {
		since = calm
	}
	limit := time.Minute + 30*time.Second + 15*time.Second // accepted when it should not be, and calls
	if !s.quick {
		limit += 3 * time.Minute // a lease, a rest, a retry
	}
	if time.Since(since) > limit && !s.isExcused(user) {
		s.violation("burned: %s: %s works %s after it was to be burned", user, keyID, time.Since(b.at))
	}
}

func (s *simulation) isBurned(keyID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.burned[keyID]
	return ok
}

// judgePublication is called after a hand-out: the target holds the key, or one
// that is about to become Current and works, or the record knows that it does not
// and has the next attempt planned, at once or after one wait.
func (s *simulation) judgePublication(c rotate.Credential) {
	e, err := s.store.Load(context.Background(), c.User)
	cur := e.Record.In(plan.Current)
	if err != nil || cur == nil || cur.ID != c.KeyID {
		return // it has moved on
	}
	s.mu.Lock()
	has, recovering := s.holds[c.User], time.Now().Before(s.lacking[c.User])
	open := time.Since(s.house.opened) > time.Minute // nobody published while all was stopped
	s.mu.Unlock()
	t, now := e.Record.Target("target"), time.Now()
	if s.quick && open && t != nil && t.KeyID == has.KeyID && t.Tries == 0 && now.Sub(has.Expiration) > 5*time.Second {
		s.violation("published: %s: the target says that %s expired at %s", c.User, has.KeyID, has.Expiration)
	}
	if has.KeyID == c.KeyID {
		return
	}
	if next := e.Record.Key(has.KeyID); next != nil && next.Stage == plan.Pending {
		if err := s.aws.Use(has.KeyID, has.Secret.Reveal()); err != nil && !s.isExcused(c.User) && !s.isBurned(has.KeyID) {
			s.violation("published: %s: the target holds %s, which is about to be served and refused: %v", c.User, has.KeyID, err)
		}
		return
	}
	switch {
	case t != nil && t.KeyID == c.KeyID:
		s.violation("published: %s: %s is served and recorded as published, but the target holds %q", c.User, c.KeyID, has.KeyID)
	case t != nil && t.Again.After(now.Add(time.Minute)):
		s.violation("published: %s: %s is served and not published, and nobody tries before %s", c.User, c.KeyID, t.Again)
	case s.quick && !recovering && now.Sub(cur.Promoted) > 3*time.Minute:
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
