package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const (
	maxSteps = 40 // more than any user can need in one pass; a bound, not a budget
	saveTime = 10 * time.Second
)

// pass is one turn of the loop for one user: observe, then plan → audit → act
// → save until there is nothing to do. It holds the user's lease throughout.
type pass struct {
	*Rotator
	way
	ctx    context.Context // ends when the pass should start nothing new
	saved  Entry           // as the store has it
	later  []func(*Entry)  // what changed since and waits for the next save
	entry  Entry           // saved with later
	looked bool            // AWS was asked since the store was
	acted  bool            // a step was taken
	world  plan.World
	policy plan.Policy
	left   bool // a save gave the lease up

	recorded bool      // something was recorded
	leased   time.Time // when the lease ends; zero: it was given up
	report   UserReport
	limit    time.Time // until when it waits for a key to settle

	urgency            // of the step at hand
	may      Call      // what the pace has let through and was not used yet
	ready    *place    // held with it
	refusals int       // of calls, for their pace
	sent     time.Time // when the last call that changes IAM was made
	asked    time.Time // when the last one that does not was, by the monotonic clock

	entered string               // the publisher whose slot is held
	leave   func(verdict) change // gives it up; nil: none is

	keepLease bool // until it ends by itself
}

// way is how a pass is made.
type way struct {
	patience time.Duration // how long it waits for a key to settle
	begun    func()        // called once its first call that changes IAM has had its turn
	creates  bool          // it is made for a new key only
	defers   bool          // it makes no key if many wait for that; the next pass does
	private  bool          // an operator waits for it: its failures are not saved
	anyway   bool          // also over a user that is not due
	dueNow   bool          // it was made due just now, whatever the clock says since
	ahead    Entry         // read before the lease was taken; zero: it was not
	turns    int           // corrections of the clock before the lease was taken
}

// errClock ends a pass that began by a wrong clock, or can no longer be sure of
// the time: its lease may be over.
var errClock = errors.New("the clock was corrected")

// pass takes the user's lease and makes a pass, unless this process rests, or
// the entry says that the user is not due: an index may lag behind, and what is
// known of other processes, too. Of several daemons all but one are refused the
// lease, at every tick: that must be cheap.
func (r *Rotator) pass(ctx context.Context, user string, w way) UserReport {
	if resting, why := r.resting(ctx, user); resting {
		return UserReport{User: user, Wait: plan.Step{Action: plan.Wait, Reason: plan.BackingOff}, Err: why}
	}
	if err := r.timed(ctx, user); err != nil {
		return UserReport{User: user, Err: fmt.Errorf("user %q: %w", user, err)}
	}
	var err error
	if w.ahead, err = r.Store.Load(ctx, user); err != nil {
		p := &pass{Rotator: r, way: w, ctx: ctx}
		return r.leased(ctx, user, w, lease{}, p.unreadable(user, err))
	}
	if due := w.ahead.Due; due.After(r.now()) && !w.dueNow {
		wait := plan.Step{Action: plan.Wait, Reason: plan.NotDue, Wake: due}
		if !w.anyway || r.asExpected(ctx, w.ahead) {
			return UserReport{User: user, Wait: wait}
		}
	}
	w.turns = r.Clock.corrections()
	l, err := r.take(ctx, user)
	if !errors.Is(err, ErrLeased) {
		r.elsewhere.Delete(user)
	} else if _, told := r.elsewhere.LoadOrStore(user, true); told {
		return UserReport{User: user}
	}
	return r.leased(ctx, user, w, l, err)
}

// timed sees to it that the time is known before a lease is taken by it: if it
// is not, IAM is looked at, whose answer tells it.
func (r *Rotator) timed(ctx context.Context, user string) error {
	if r.Clock.Settle(ctx) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.policy(user, "").CallTimeout)
	defer cancel()
	_, err := r.IAM.Keys(ctx, user) // for its date
	if r.Clock.Known() {
		return nil
	}
	return errors.Join(ErrNoTime, err)
}

// leased goes on with a pass once the lease was asked for, with err; or says why
// it was not even asked for.
func (r *Rotator) leased(ctx context.Context, user string, w way, l lease, err error) UserReport {
	report := UserReport{User: user}
	if w.begun == nil {
		w.begun = func() {}
	}
	for i := 0; err == nil; i++ {
		p := &pass{Rotator: r, way: w, ctx: ctx, leased: l.until, report: UserReport{User: user}}
		err = p.run(user, l.version)
		report = p.report
		if i > 0 || !errors.Is(err, errClock) {
			break
		}
		r.Clock.Settle(ctx)
		w.turns = r.Clock.corrections()
		l, err = r.acquire(ctx, user, 0) // once more, with the right time
	}
	switch {
	case err == nil:
	case errors.Is(err, errUnsent) && ctx.Err() != nil:
		report.Err = ctx.Err() // it ends in time, and failed at nothing
	case errors.Is(err, ErrLeased), errors.Is(err, ErrConflict):
		r.Log.Info("another process acts on this user", "user", user, "reason", err)
	case errors.Is(err, ErrUnreadable):
		r.Log.Debug("pass ended early", "user", user, "err", err)
		report.Err = err
	default:
		r.Log.Warn("pass ended early", "user", user, "err", err)
		report.Err = err
	}
	return report
}

func (p *pass) run(user string, version int64) error {
	p.limit = p.now().Add(p.patience)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
		defer cancel()
		p.giveBack()
		if p.recorded && p.Recorded != nil {
			if err := p.Recorded(ctx); err != nil { // the events are on record
				p.Log.Warn("the end of the audit log could not be moved", "user", user, "err", err)
			}
		}
		if p.left || p.keepLease {
			return
		}
		_ = p.Store.Release(ctx, user, p.Owner) // it ends by itself anyway
	}()
	err := p.begin(user, version)
	if err == nil {
		err = p.steps(user)
	}
	if err != nil && p.world.Blind {
		p.serveReaders(user)
	}
	return err
}

// steps takes one step after the other until there is nothing to do.
func (p *pass) steps(user string) error {
	for n := 0; n-p.refusals < maxSteps; n++ {
		p.world.Record = p.entry.Record
		step := plan.Next(p.world, p.policy, p.now())
		p.urgency = urgency{p.world.Rank(step), p.entry.Due}
		idle := step.Action == plan.Wait && p.world.Unseen && !p.acted // a reconciliation
		if step.Action == plan.Wait && !idle {
			p.report.Wait = step
			p.giveBack()
			if patient(step, p.limit) {
				if err := p.flush(); err != nil {
					return err
				}
				if p.sleep(step.Wake.Sub(p.now())) == nil {
					continue
				}
			}
			return p.finish(step)
		}
		if p.ctx.Err() != nil {
			_ = p.flush() // a look that is lost is only taken again
			return p.ctx.Err()
		}
		if err := p.timely(); err != nil {
			return err
		}
		if err := p.lease(user); err != nil {
			return err
		}
		if p.crowded(step) {
			return p.commit(func(*Entry) {})
		}
		if again, err := p.turn(step); err != nil {
			return err
		} else if again {
			continue
		}
		if step.Action == plan.Look || idle {
			if err := p.look(user); err != nil {
				return err
			}
			continue
		}
		if again, err := p.settle(step); err != nil {
			return err
		} else if again {
			continue
		}
		do := p.do
		if step.Action == plan.Publish || step.Action == plan.Copy {
			do = p.publish
		}
		if err := do(step); err != nil {
			return err
		}
		p.acted = true
	}
	return fmt.Errorf("%d steps in one pass over %q: giving up until the next", maxSteps, user)
}

// begin loads the entry. The user's keys are looked at when a step depends on
// it, or when there is none to take, which is a reconciliation. An operator's pass
// looks at once, and so does one over a user that seems to have been renamed.
// version is the entry's under the lease: one that was read before the lease may
// be out of date.
func (p *pass) begin(user string, version int64) error {
	var err error
	if p.saved = p.ahead; version == 0 || p.ahead.Version != version {
		if p.saved, err = p.Store.Load(p.ctx, user); err != nil {
			return p.unreadable(user, err)
		}
	}
	p.entry, p.policy = p.saved, p.Rotator.policy(user, p.saved.Record.UserID)
	p.urgency = urgency{plan.RankPromote, p.saved.Due} // until it is known what comes
	p.world = plan.Unseen(p.saved.Record)
	if p.private || p.renamed() != "" {
		if err := p.look(user); err != nil {
			return err
		}
	}
	return p.redate()
}

// patient reports whether a pass should wait for the step itself.
func patient(step plan.Step, limit time.Time) bool {
	switch step.Reason {
	case plan.Settling, plan.Unproven, plan.Unpublished, plan.Queued:
		return !step.Wake.After(limit)
	}
	return false
}

// timely returns an error unless the time that the pass began with still is
// right, and with it the end of its lease.
func (p *pass) timely() error {
	if p.Clock.corrections() == p.turns && p.Clock.Known() {
		return nil
	}
	return fmt.Errorf("user %q: %w", p.report.User, errClock)
}

// effect returns the context for one call that changes something: it is not
// cut short by a shutdown, and ends well before the lease does. It has ended
// already if the lease cannot be relied on any more.
func (p *pass) effect() (context.Context, context.CancelFunc) {
	d := min(p.policy.CallTimeout, p.leased.Sub(p.now())-spare)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), d)
	if p.timely() != nil {
		cancel()
	}
	return ctx, cancel
}

// do audits the step, has its effect and saves the result.
func (p *pass) do(step plan.Step) error {
	if err := p.forewarn(step); err != nil {
		return err
	}
	if err := p.audit(step, ""); err != nil {
		return fmt.Errorf("auditing %s of %q: %w", step.Action, p.entry.Record.User, err)
	}
	if !leadsOn(step) {
		p.giveBack()
	}
	out, err := p.act(step)
	if callOf(step.Action) != "" {
		p.giveBack()
	}
	if errors.Is(err, errUnsent) {
		return err
	}
	// An attempt may have come before the one that was throttled.
	if err != nil && ends(step) && (!certain(err) || errors.Is(err, ErrThrottled)) {
		p.note(func(e *Entry) { e.Record = e.Record.EndsLate(p.policy, step.KeyID, p.sent) })
		defer p.hold(p.policy.Over(p.sent))
	}
	if p.throttled(step, err) {
		return p.retry(step, err)
	}
	if p.world.Unseen && (errors.Is(err, ErrNoKey) || errors.Is(err, ErrNoUser)) {
		// The key is gone, or has its user's new name now. Only a look can tell.
		_ = p.audit(step, err.Error())
		return p.look(p.report.User)
	}
	if err == nil && asks(step) {
		// The answer is what changes the record, so it is what is recorded.
		if err := p.enter(step, answer(out)); err != nil {
			return fmt.Errorf("auditing %s of %q: %w", step.Action, p.entry.Record.User, err)
		}
	}
	at := p.now()
	var missed error // by publishers: told, but it does not end the pass
	switch {
	case err == nil:
		err = p.save(step, out)
	case step.Action == plan.Publish, step.Action == plan.Copy:
		missed, err = err, p.save(step, out)
		p.Log.Warn("publishers failed", "user", p.report.User, "key", ShortID(step.KeyID), "err", missed)
	case p.timely() != nil: // it says nothing about the step
		err = errors.Join(p.timely(), err)
	default:
		err = p.failed(step, fmt.Errorf("%s for %q: %w", step.Action, p.entry.Record.User, err))
	}
	if step.Action == plan.Publish {
		p.report.Err = missed // the operator and the exit code tell it
	}
	p.report.Steps = append(p.report.Steps, Done{Step: step, At: at, Err: errors.Join(missed, err)})
	p.tell(step, out, errors.Join(missed, err))
	return err
}

// finish notes when to look again, and why nothing moves if that is not as it
// should be.
func (p *pass) finish(step plan.Step) error {
	waiting := plan.Reason("")
	if step.Reason.Stuck() {
		waiting = step.Reason
	}
	p.awake(p.report.User)
	told := p.entry.Record.Waiting == waiting
	if told && len(p.later) == 0 && p.entry.Due.Equal(p.wake(step)) {
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
// a restart. If the failure is this process's own, only this process waits:
// another one may be able to act. An operator's pass saves nothing, and tells
// the operator. It returns cause. The pass ends, but readers of targets are
// served.
func (p *pass) failed(step plan.Step, cause error) error {
	if p.private {
		p.world.Blind = step.Action != plan.Wait
		return cause
	}
	now := p.now()
	own := step.Action == plan.Wait || errors.Is(cause, ErrDenied) || errors.Is(cause, ErrNoIdentity)
	if own {
		p.rest(p.report.User)
	}
	if err := p.commit(func(e *Entry) {
		retryAt := e.Record.RetryAt
		e.Record = e.Record.Failed(p.policy, step, cause.Error(), now)
		if own {
			e.Record.RetryAt = retryAt
		}
		e.Due = now
	}); err == nil {
		p.world.Blind = true
	} else if !errors.Is(err, ErrConflict) {
		return errors.Join(cause, err)
	}
	return cause
}
