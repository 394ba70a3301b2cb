package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// client asks for credentials and uses them until they expire.
func (s *simulation) client(ctx context.Context, i int) {
	r, user := s.dice("client", i), userName(i)
	d := &rotate.Dispenser{Store: s.store, Policy: s.policyOf, Clock: s.serverClock(s.dice("server clock", i))}
	served := false
	for ctx.Err() == nil {
		s.waitUntilOpen(ctx)
		c, err := d.Give(ctx, user, rotate.Recipient{Caller: "client-" + user})
		if err != nil {
			if ctx.Err() == nil {
				s.notReady(user, served, err)
			}
			pause(ctx, time.Second+time.Duration(r.Int64N(int64(5*time.Second))))
			continue
		}
		served = true
		s.note(func() {
			s.result.Handouts++
			s.promise(c.KeyID, c.Expiration)
		})
		s.judgePublication(c)
		if !c.Expiration.After(time.Now()) {
			s.violation("served works: %s: hand-out of %s had expired already", user, c.KeyID)
			return // there would be one at each instant from now on
		}
		if !s.useUp(ctx, r, c) {
			pause(ctx, time.Second) // as a program that retries; without it, the clock would stand still
		} else if time.Until(c.Expiration) <= time.Millisecond {
			pause(ctx, 2*time.Millisecond) // the next one must not be the same
		}
	}
}

// useUp signs requests with c at random instants, and right at the end. It
// reports whether c worked all the time.
func (s *simulation) useUp(ctx context.Context, r *rand.Rand, c rotate.Credential) bool {
	for {
		err := s.aws.Use(c.KeyID, c.Secret.Reveal())
		s.note(func() { s.result.Uses++ })
		if err != nil && s.mayFail(c.User, c.KeyID) {
			return false // the exception to every promise
		}
		if err == nil {
			s.mustFail(c.User, c.KeyID)
		}
		if err != nil && !s.isExcused(c.User) {
			s.violation("served works: %s: %s refused %s before its Expiration: %v", c.User, c.KeyID, time.Until(c.Expiration), err)
			return false
		}
		left := time.Until(c.Expiration)
		if left <= time.Millisecond || ctx.Err() != nil {
			return left > -time.Millisecond
		}
		wait := time.Second + time.Duration(r.Int64N(int64(3*time.Minute)))
		switch {
		case wait >= left && r.IntN(2) == 0:
			return true // asks a little early, as the SDKs do
		case wait >= left:
			wait = left - time.Microsecond
		}
		pause(ctx, wait)
	}
}
