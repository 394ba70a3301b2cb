package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

var (
	errStore = errors.New("store: input/output error")
	errDead  = errors.New("the process is dead")
)

// daemon runs one rotator, and starts it again after every crash.
func (s *simulation) daemon(ctx context.Context, n int) {
	r := s.dice("daemon", n)
	for life := 0; ctx.Err() == nil; life++ {
		p := &process{simulation: s, name: fmt.Sprintf("daemon-%d.%d", n, life), r: s.dice(fmt.Sprintf("process-%d", n), life)}
		until := s.For * 2
		if s.Faults.Crash > 0 {
			until = time.Duration(r.ExpFloat64() * float64(s.Faults.Crash))
		}
		p.crash.Store(time.Now().Add(until).UnixNano())
		s.note(func() { s.lives = append(s.lives, p) })
		run, cancel := s.life(ctx, p.name, until+time.Second)
		p.run(run)
		cancel()
		if ctx.Err() == nil {
			s.note(func() { s.result.Crashes++ })
			s.trouble("")
			pause(ctx, time.Duration(r.Int64N(int64(time.Minute)))) // somebody starts it again
			s.trouble("")
		}
	}
}

// process is one life of a daemon. From the instant of its crash on, every
// call that it makes has no effect, or its last one had and it does not know.
type process struct {
	*simulation
	name  string
	r     *rand.Rand
	crash atomic.Int64 // unix nanoseconds
	skew  atomic.Int64 // of its machine's clock
	heir  *process     // who goes on in its place
	clock *rotate.Clock
}

// rotator returns the process's rotator, with a clock of its own.
func (p *process) rotator() *rotate.Rotator {
	p.clock = &rotate.Clock{
		Wall: func() time.Time { return time.Now().Add(time.Duration(p.skew.Load())) },
		Ask:  func(ctx context.Context) error { return p.ask(ctx, p.clock) },
		Log:  p.log,
	}
	rot := &rotate.Rotator{
		IAM: &mortalIAM{p.aws, p}, Audit: p, Publishers: []rotate.Publisher{required{p}}, Store: &mortalStore{p.store, p},
		Policy: p.policyOf, Log: p.log, Owner: p.name, Tick: time.Second,
		Clock: p.clock, Pace: p.Pace, Workers: p.Workers,
		Select: func(context.Context) ([]rotate.User, error) {
			if p.dead() {
				return nil, errDead
			}
			p.clock.Begin()(time.Now().Truncate(time.Second))
			return p.aws.Users(), nil
		},
		Observe: p.observe, Dead: p.gone,
	}
	if p.Faults.Copies > 0 {
		rot.Optional = []rotate.Publisher{optional{p}}
	}
	return rot
}

func (p *process) run(ctx context.Context) {
	rot := p.rotator()
	if p.Faults.ClockSteps > 0 {
		var wg sync.WaitGroup
		defer wg.Wait()
		r := p.dice("clock "+p.name, 0)
		p.stepClock(r) // wrong from the first moment on, whatever runs first
		wg.Go(func() { p.stepClocks(ctx, r) })
	}
	if err := rot.Run(ctx); err != nil {
		p.violation("run ended: %v", err)
	}
}

// stepClock sets the machine's clock wrong, by up to an hour both ways.
func (p *process) stepClock(r *rand.Rand) {
	p.skew.Store(r.Int64N(int64(2*time.Hour)) - int64(time.Hour))
	p.trouble("")
}

func (p *process) stepClocks(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(r.ExpFloat64()*float64(p.Faults.ClockSteps)))
		p.stepClock(r)
	}
}

func (p *process) dead() bool { return time.Now().UnixNano() >= p.crash.Load() }

// gone is [rotate.Rotator.Dead]. In every second run all processes are on one
// machine, where they see each other die; in the others leases end by themselves.
func (p *process) gone() (names []string) {
	if p.Seed%2 == 1 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives = slices.DeleteFunc(p.lives, func(q *process) bool { return time.Since(time.Unix(0, q.crash.Load())) > 5*time.Minute })
	for _, q := range p.lives {
		if q.dead() && (q.heir == nil || q.heir.dead()) {
			q.heir = p
		}
		if q.heir == p {
			names = append(names, q.name)
		}
	}
	return names
}

// strike draws the fate of a store operation.
func (p *process) strike() (before, after bool) {
	if p.dead() {
		return true, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.r.Float64()
	return x < p.Faults.Store, x >= p.Faults.Store && x < 2*p.Faults.Store
}

func (p *process) observe(user string, step plan.Step, err error) {
	if err != nil {
		p.confide("a notice", err.Error()) // it is made of this
	}
	if err == nil && step.Action == plan.Create {
		p.note(func() { p.made[step.KeyID] = time.Now() })
	}
	if step.Action != plan.Promote || err != nil {
		return
	}
	p.note(func() {
		p.result.Rotations++
		if made, ok := p.made[step.KeyID]; ok {
			p.result.Behind = max(p.result.Behind, time.Since(made))
			delete(p.made, step.KeyID)
		}
		if time.Now().After(p.warm) {
			p.result.Gap = max(p.result.Gap, time.Since(p.fresh[user]))
			p.fresh[user] = time.Now()
		}
		p.promoted(user, step.KeyID)
		if late := time.Since(step.Due); !step.Due.IsZero() && late > p.result.Late && time.Now().After(p.warm) {
			p.result.Late = late
		}
	})
}

// Append implements [rotate.Audit]: it remembers what was announced.
func (p *process) Append(_ context.Context, e rotate.Event) error {
	if p.dead() {
		return errDead
	}
	p.confide("the audit log", e.Action, e.User, e.UserID, e.Key, e.Reason, e.Caller, e.Addr, e.Actor, e.Result)
	switch {
	case e.Result == "":
		p.note(func() { p.recorded[e.User] = e.Action + " " + e.Key })
	case e.Result == "ok" && e.Action == string(plan.Verify):
		p.note(func() { p.proofs[e.Key] = true })
	}
	return nil
}

// change makes a call that changes a user's keys, and checks that it was put
// on record before and that nobody else is changing the same user's.
func change[T any](p *process, user, announced string, f func() (T, error)) (T, error) {
	if p.dead() {
		var zero T
		return zero, errDead
	}
	p.mu.Lock()
	got, other := p.recorded[user], p.hands[user]
	p.hands[user] = p
	p.mu.Unlock()
	if announced != "" && got != announced {
		p.violation("on record: %s: %q was done, %q was the last on record", user, announced, got)
	}
	if other != nil && other != p && !other.dead() { // what a dead one sent is on its way
		p.violation("one hand: %s changes the keys of %s while %s does", p.name, user, other.name)
	}
	defer p.note(func() {
		if p.hands[user] == p {
			delete(p.hands, user)
		}
	})
	v, err := mortal(p, f)
	return v, p.troubledBy(user, err)
}

// mortalIAM is IAM as a process sees it that may die at any time.
type mortalIAM struct {
	rotate.IAM
	p *process
}

// answer makes a call whose answer, if there is one, tells c the time: in whole
// seconds, and as late as the answer is.
func answer[T any](c *rotate.Clock, f func() (T, error)) (T, error) {
	dated := c.Begin()
	v, err := f()
	if err == nil || errors.Is(err, rotate.ErrNoUser) || errors.Is(err, rotate.ErrThrottled) || errors.Is(err, rotate.ErrRefused) {
		dated(time.Now().Truncate(time.Second))
	}
	return v, err
}

func mortal[T any](p *process, f func() (T, error)) (T, error) {
	var zero T
	if p.dead() {
		return zero, errDead
	}
	v, err := answer(p.clock, f)
	if p.dead() {
		return zero, errDead // it had its effect and never learned of it
	}
	return v, err
}

func (m *mortalIAM) Keys(ctx context.Context, user string) ([]plan.Key, error) {
	ks, err := mortal(m.p, func() ([]plan.Key, error) { return m.IAM.Keys(ctx, user) })
	return ks, m.p.troubledBy(user, err)
}

func (m *mortalIAM) Create(ctx context.Context, user string) (plan.Key, rotate.Secret, error) {
	type pair struct {
		k plan.Key
		s rotate.Secret
	}
	v, err := change(m.p, user, "create ", func() (pair, error) {
		k, s, err := m.IAM.Create(ctx, user)
		m.p.secrets.add(s)
		return pair{k, s}, err
	})
	return v.k, v.s, err
}

func (m *mortalIAM) SetStatus(ctx context.Context, user, id string, s plan.Status) error {
	what := "deactivate " + id
	if s == plan.Active {
		what = "reactivate " + id
	}
	_, err := change(m.p, user, what, func() (int, error) { return 0, m.IAM.SetStatus(ctx, user, id, s) })
	return err
}

func (m *mortalIAM) Delete(ctx context.Context, user, id string) error {
	_, err := change(m.p, user, "", func() (int, error) { return 0, m.IAM.Delete(ctx, user, id) })
	return err
}

func (m *mortalIAM) User(ctx context.Context, user string) (rotate.User, error) {
	u, err := m.IAM.User(ctx, user)
	return u, m.p.troubledBy(user, err)
}

func (m *mortalIAM) Verify(ctx context.Context, u rotate.User, id string, s rotate.Secret) error {
	_, err := mortal(m.p, func() (int, error) { return 0, m.IAM.Verify(ctx, u, id, s) })
	return m.p.troubledBy(u.Name, err)
}

// mortalStore is the store as such a process sees it, with faults.
type mortalStore struct {
	rotate.Store
	p *process
}

func (m *mortalStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if before, after := m.p.strike(); before || after {
		return rotate.Entry{}, m.p.troubledBy(user, errStore)
	}
	return m.Store.Load(ctx, user)
}

func (m *mortalStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	before, after := m.p.strike()
	if before {
		return 0, m.p.troubledBy(e.Record.User, errStore)
	}
	m.p.confide("a record's error", e.Record.Error)
	m.p.proven(e.Record)
	v, err := m.Store.Save(ctx, e)
	if after && err == nil {
		return 0, m.p.troubledBy(e.Record.User, errStore)
	}
	return v, err
}

func (m *mortalStore) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	if before, _ := m.p.strike(); before {
		return nil, m.p.troubledBy("", errStore)
	}
	return m.Store.Due(ctx, t, creates, limit)
}

func (m *mortalStore) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	if before, after := m.p.strike(); before || after {
		return 0, m.p.troubledBy(user, errStore)
	}
	return m.Store.Acquire(ctx, user, owner, now, ttl)
}

func (m *mortalStore) Release(ctx context.Context, user, owner string) error {
	if m.p.dead() {
		return errDead // a dead process gives nothing back
	}
	return m.Store.Release(ctx, user, owner)
}

// ask asks AWS for the time, by a call about a user that does not exist.
func (s *simulation) ask(ctx context.Context, c *rotate.Clock) error {
	_, err := answer(c, func() (rotate.User, error) { return s.aws.User(ctx, "nobody") })
	if errors.Is(err, rotate.ErrNoUser) {
		return nil
	}
	return err
}

// serverClock is the clock of a process that only hands out. Its machine's may
// be wrong by up to an hour both ways, and is if clocks are stepped.
func (s *simulation) serverClock(r *rand.Rand) *rotate.Clock {
	c := &rotate.Clock{Log: s.log}
	c.Ask = func(ctx context.Context) error { return s.ask(ctx, c) }
	if s.Faults.ClockSteps > 0 {
		off := time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour
		c.Wall = func() time.Time { return time.Now().Add(off) }
	}
	return c
}
