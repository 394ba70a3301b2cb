package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// required is the publisher that must confirm before a promotion.
type required struct{ p *process }

// Name implements [rotate.Publisher].
func (required) Name() string { return "target" }

// Traits implements [rotate.Publisher].
func (required) Traits() rotate.Traits { return rotate.Traits{Compares: true, Expires: true} }

// Publish implements [rotate.Publisher], with faults. Its errors are careless.
func (q required) Publish(_ context.Context, c rotate.Credential) error {
	p := q.p
	if p.dead() {
		return errDead
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.r.Float64()
	if x < p.Faults.Publish {
		return fmt.Errorf("target did not take %s: %w", c.Secret.Reveal(), errStore)
	}
	p.holds[c.User] = c
	p.promise(c.KeyID, c.Expiration) // its readers are told
	if x < 2*p.Faults.Publish {
		return errStore
	}
	return nil
}

// promise notes what somebody was told. The caller holds s.mu.
func (s *simulation) promise(id string, until time.Time) {
	if until.After(s.promised[id]) {
		s.promised[id] = until
	}
}

// optional is the publisher that must never stand in the way.
type optional struct{ p *process }

// target is what the optional publisher writes to.
type target struct {
	mu      sync.Mutex
	outages [][2]time.Time    // when it answers nothing
	has     map[string]string // key, by user
}

// Name implements [rotate.Publisher].
func (optional) Name() string { return "copy" }

// Traits implements [rotate.Publisher].
func (optional) Traits() rotate.Traits { return rotate.Traits{Compares: true} }

// Publish implements [rotate.Publisher]: as the required one, but it also goes
// down for long, and then fails at once or hangs.
func (q optional) Publish(ctx context.Context, c rotate.Credential) error {
	p := q.p
	if p.dead() {
		return errDead
	}
	t := &p.optional
	p.mu.Lock()
	x := p.r.Float64()
	p.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if slices.ContainsFunc(t.outages, func(o [2]time.Time) bool { return now.After(o[0]) && now.Before(o[1]) }) {
		if x < 0.5 {
			t.mu.Unlock()
			<-ctx.Done() // hangs
			t.mu.Lock()
		}
		return fmt.Errorf("copy of %s: %w", c.Secret.Reveal(), errStore)
	}
	if x < p.Faults.Publish {
		return errStore
	}
	if t.has == nil {
		t.has = map[string]string{}
	}
	t.has[c.User] = c.KeyID
	if x < 2*p.Faults.Publish {
		return errStore
	}
	return nil
}

// outages draws when the optional target is down.
func (s *simulation) outages(every time.Duration) [][2]time.Time {
	if every <= 0 {
		return nil
	}
	r, start := s.dice("copies", 0), time.Now()
	next := func() time.Duration { return time.Duration(r.ExpFloat64() * float64(every)) }
	var all [][2]time.Time
	for at := next(); at < s.For; at += next() {
		from := start.Add(at)
		all = append(all, [2]time.Time{from, from.Add(time.Duration(r.Int64N(int64(time.Hour))))})
	}
	return all
}

// inspectCopies checks that the optional target has caught up.
func (s *simulation) inspectCopies(r plan.Record) {
	k := r.In(plan.Current)
	if s.Faults.Copies == 0 || k == nil || s.isExcused(r.User) || time.Since(k.Promoted) < 5*time.Minute {
		return
	}
	s.optional.mu.Lock()
	defer s.optional.mu.Unlock()
	if got := s.optional.has[r.User]; got != k.ID {
		s.violation("on time: the optional target still has %s of %s, which is served %s", got, r.User, k.ID)
	}
}
