package rotate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const (
	leaseTTL = time.Minute
	maxSteps = 40 // more than any user can need in one pass; a bound, not a budget
	saveTime = 10 * time.Second
)

// pass is one turn of the loop for one user: observe, then plan → audit → act
// → save until there is nothing to do. It holds the user's lease throughout.
type pass struct {
	*Rotator
	ctx    context.Context // ends when the pass should start nothing new
	entry  Entry
	world  plan.World
	policy plan.Policy
	leased time.Time // when the lease ends
	free   func()    // gives the worker back; nil: there is none
	report UserReport
}

// errClock ends a pass that began by a wrong clock.
var errClock = errors.New("the clock was corrected")

// pass takes the user's lease and makes a pass. Of several daemons all but one
// are refused it, at every tick: that must be cheap.
func (r *Rotator) pass(ctx context.Context, user string, patience time.Duration, free func()) UserReport {
	until, err := r.acquire(ctx, user)
	if !errors.Is(err, ErrLeased) {
		r.elsewhere.Delete(user)
	} else if _, told := r.elsewhere.LoadOrStore(user, true); told {
		return UserReport{User: user}
	}
	return r.leased(ctx, user, patience, free, until, err)
}

// leased goes on with a pass once the lease was asked for, with err.
func (r *Rotator) leased(ctx context.Context, user string, patience time.Duration, free func(), until time.Time, err error) UserReport {
	report := UserReport{User: user}
	for i := 0; err == nil; i++ {
		p := &pass{Rotator: r, ctx: ctx, leased: until, policy: r.policy(user), free: free, report: UserReport{User: user}}
		err = p.run(user, patience)
		report = p.report
		if i > 0 || !errors.Is(err, errClock) {
			break
		}
		until, err = r.acquire(ctx, user) // once more, with the right time
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrLeased), errors.Is(err, ErrConflict):
		r.Log.Info("another process acts on this user", "user", user, "reason", err)
	default:
		r.Log.Warn("pass ended early", "user", user, "err", err)
		report.Err = err
	}
	return report
}

func (p *pass) run(user string, patience time.Duration) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
		defer cancel()
		_ = p.Store.Release(ctx, user, p.Owner) // it ends by itself anyway
	}()
	var err error
	// Only now: what was read before the lease may be out of date.
	if p.entry, err = p.Store.Load(p.ctx, user); err != nil {
		return fmt.Errorf("loading %q: %w", user, err)
	}
	if err := p.observe(); err != nil {
		err = p.failed(plan.Step{Action: plan.Wait}, fmt.Errorf("looking at the keys of %q: %w", user, err))
		if p.Observe != nil {
			p.Observe(user, plan.Step{Action: plan.Wait}, err)
		}
		return err
	}
	if p.sync() {
		return fmt.Errorf("user %q: %w", user, errClock)
	}
	limit := p.now().Add(patience)
	for range maxSteps {
		p.world.Record = p.entry.Record
		step := plan.Next(p.world, p.policy, p.now())
		if step.Action == plan.Wait {
			p.report.Wait = step
			if again := patient(step, limit); again && p.sleep(step.Wake.Sub(p.now())) {
				continue
			}
			return p.rest(step)
		}
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if err := p.lease(user); err != nil {
			return err
		}
		do := p.do
		if step.Action == plan.Copy {
			do = p.doCopy
		}
		if err := do(step); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d steps in one pass over %q: giving up until the next", maxSteps, user)
}

// patient reports whether a pass should wait for the step itself.
func patient(step plan.Step, limit time.Time) bool {
	return (step.Reason == plan.Settling || step.Reason == plan.Unproven || step.Reason == plan.Unpublished) && !step.Wake.After(limit)
}

func (p *pass) sleep(d time.Duration) bool {
	t := time.NewTimer(max(d, time.Millisecond))
	defer t.Stop()
	select {
	case <-p.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// acquire takes or extends the user's lease and returns when it ends.
func (r *Rotator) acquire(ctx context.Context, user string) (time.Time, error) {
	now := r.now()
	err := r.Store.Acquire(ctx, user, r.Owner, now, leaseTTL)
	if errors.Is(err, ErrLeased) {
		return time.Time{}, err // an answer, which says enough
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("acquiring the lease of %q: %w", user, err)
	}
	return now.Add(leaseTTL), nil
}

// lease extends the user's lease if less than half of it is left.
func (p *pass) lease(user string) error {
	if p.leased.Sub(p.now()) > leaseTTL/2 {
		return nil
	}
	until, err := p.acquire(p.ctx, user)
	if err == nil {
		p.leased = until
	}
	return err
}

// effect returns the context for one call that changes something: it is not
// cut short by a shutdown, and ends well before the lease does.
func (p *pass) effect() (context.Context, context.CancelFunc) {
	d := min(p.policy.CallTimeout, p.leased.Sub(p.now())-time.Second)
	return context.WithTimeout(context.WithoutCancel(p.ctx), d)
}

func (p *pass) observe() error {
	ctx, cancel := p.effect()
	defer cancel()
	keys, err := p.IAM.Keys(ctx, p.entry.Record.User)
	switch {
	case errors.Is(err, ErrNoUser):
		p.world = plan.World{Absent: true}
	case err != nil:
		return err
	default:
		p.world = plan.World{Keys: keys}
	}
	return nil
}

// do audits the step, has its effect and saves the result.
func (p *pass) do(step plan.Step) error {
	if err := p.audit(step, ""); err != nil {
		return fmt.Errorf("auditing %s of %q: %w", step.Action, p.entry.Record.User, err)
	}
	out, err := p.act(step)
	if err == nil && asks(step) {
		// The answer is what changes the record, so it is what is recorded.
		if err := p.enter(step, answer(out)); err != nil {
			return fmt.Errorf("auditing %s of %q: %w", step.Action, p.entry.Record.User, err)
		}
	}
	at := p.now()
	var missed error // optional publishers: told, but no failure of the pass
	switch {
	case err == nil:
		err = p.save(step, out)
	case step.Action == plan.Copy:
		missed, err = err, p.save(step, out)
		p.Log.Warn("optional publishers did not take the pair", "user", p.report.User, "key", ShortID(step.KeyID), "err", missed)
	default:
		err = p.failed(step, fmt.Errorf("%s for %q: %w", step.Action, p.entry.Record.User, err))
	}
	p.report.Steps = append(p.report.Steps, Done{Step: step, At: at, Err: errors.Join(missed, err)})
	p.tell(step, out, errors.Join(missed, err))
	return err
}

// doCopy does without a worker, of which an optional publisher that hangs would
// take more and more from rotations that are due. If too many hang already, it
// is put off like one that failed, but nobody is asked and nothing is told.
func (p *pass) doCopy(step plan.Step) error {
	if p.free != nil {
		p.free()
	}
	select {
	case p.copying <- struct{}{}:
		defer func() { <-p.copying }()
		return p.do(step)
	default:
		return p.save(step, plan.Outcome{})
	}
}

// save stores the record after a step. If somebody else saved meanwhile and
// changed nothing but promises or orders, the step is applied to what they
// saved; otherwise the pass ends with ErrConflict and the next one looks
// again.
func (p *pass) save(step plan.Step, out plan.Outcome) error {
	switch step.Action {
	case plan.Create:
		return nil // saved with its secret
	case plan.Identify, plan.Inspect, plan.Survey:
		if p.entry.Record.Key(step.KeyID) == nil {
			return nil // only the world has learned something
		}
	}
	now := p.now()
	return p.commit(func(e *Entry) {
		e.Record = plan.Apply(e.Record, p.policy, step, out, now)
		if step.Action == plan.Delete || step.Action == plan.Forget {
			e.Secrets = cloneSecrets(e.Secrets)
			delete(e.Secrets, step.KeyID)
		}
	})
}

// commit applies change to a copy of the entry and saves it, with its next due
// time. What the entry points to, change must replace, not alter.
// Changes by the hand-out (promises) and by operators (orders) made meanwhile
// are kept.
func (p *pass) commit(change func(*Entry)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
	defer cancel()
	for {
		next := p.entry
		change(&next)
		next.Due = p.dueOf(next)
		v, err := p.Store.Save(ctx, next)
		if err == nil {
			next.Version = v
			p.entry = next
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("saving %q: %w", next.Record.User, err)
		}
		fresh, lerr := p.Store.Load(ctx, next.Record.User)
		if lerr != nil || !sameKeys(fresh.Record, p.entry.Record) {
			return fmt.Errorf("saving %q: %w", next.Record.User, err)
		}
		p.entry = fresh
	}
}

// dueOf looks one step ahead: a step that is due makes the user due now.
func (p *pass) dueOf(e Entry) time.Time {
	w := p.world
	w.Record = e.Record
	now := p.now()
	if s := plan.Next(w, p.policy, now); s.Action == plan.Wait {
		return p.wake(s)
	}
	return now
}

// wake is when the user is looked at again: when the step says so, and in any
// case for the regular reconciliation with IAM.
func (p *pass) wake(step plan.Step) time.Time {
	if r := p.now().Add(p.Reconcile).Truncate(p.Reconcile / 60); step.Wake.After(r) {
		return r
	}
	return step.Wake
}

// rest notes when to look again, and why nothing moves if that is not as it
// should be.
func (p *pass) rest(step plan.Step) error {
	waiting := plan.Reason("")
	if step.Reason.Stuck() {
		waiting = step.Reason
	}
	told := p.entry.Record.Waiting == waiting
	if told && p.entry.Due.Equal(p.wake(step)) {
		return nil
	}
	if !told && waiting != "" {
		p.held(step)
	}
	now := p.now()
	return p.commit(func(e *Entry) {
		if e.Record.Waiting != waiting {
			e.Record = e.Record.Clone()
			e.Record.Waiting, e.Record.Since = waiting, now
		}
	})
}

// failed saves that a step failed, so that the next attempt waits, also after
// a restart. It returns cause.
func (p *pass) failed(step plan.Step, cause error) error {
	now := p.now()
	if step.Action == plan.Publish && p.entry.Record.Waiting != plan.Unpublished {
		p.held(plan.Step{Action: plan.Wait, KeyID: step.KeyID, Reason: plan.Unpublished})
	}
	if err := p.commit(func(e *Entry) {
		e.Record = e.Record.Failed(p.policy, step, cause.Error(), now)
		e.Due = now
	}); err != nil && !errors.Is(err, ErrConflict) {
		return errors.Join(cause, err)
	}
	return cause
}

// sameKeys reports whether two records differ in nothing that a decision about
// a key rests on: promises and orders may have been added.
func sameKeys(a, b plan.Record) bool {
	strip := func(r plan.Record) plan.Record {
		r = r.Clone()
		for i := range r.Keys {
			r.Keys[i].Promise = time.Time{}
		}
		r.Order, r.Pause = nil, nil
		return r
	}
	ja, erra := json.Marshal(strip(a))
	jb, errb := json.Marshal(strip(b))
	return erra == nil && errb == nil && bytes.Equal(ja, jb)
}
