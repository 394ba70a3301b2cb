package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// save stores the record after a step. If somebody else saved meanwhile and
// changed nothing but promises or orders, the step is applied to what they
// saved; otherwise the pass ends with ErrConflict and the next one looks
// again. What a look found is saved together with what follows from it, if
// that comes at once: each save is paid for.
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
	change := func(e *Entry) {
		e.Record = plan.Apply(e.Record, p.policy, step, out, now)
		if step.Action == plan.Delete || step.Action == plan.Forget {
			e.Secrets = cloneSecrets(e.Secrets)
			delete(e.Secrets, step.KeyID)
		}
	}
	if looks(step) && !out.Refused { // a refusal ends hand-outs: saved at once
		p.note(change)
		return nil
	}
	return p.commit(change)
}

// looks reports whether the step changes nothing but what keyrot knows: if a
// crash takes the answer away, the next pass asks again.
func looks(step plan.Step) bool {
	switch step.Action {
	case plan.Verify, plan.Probe, plan.Survey, plan.Inspect:
		return true
	}
	return false
}

// note keeps what a look found for the next save. A change of nothing needs
// none.
func (p *pass) note(change func(*Entry)) {
	was, next := p.entry.Record, p.entry
	change(&next)
	p.entry, p.looked = next, true
	if !was.Equal(&next.Record) {
		p.later = append(p.later, change)
	}
}

// settle is called before a step. If looks came before it, it sees to it that
// the step rests on what the store has by now: an order or a pause may have
// come while AWS was asked. What was noted is saved, but before a step that
// comes back to the store at once, for which reading is enough and costs a
// tenth. again: the entry may have changed, and the step with it.
func (p *pass) settle(step plan.Step) (again bool, err error) {
	soon := false
	switch step.Action {
	case plan.Identify, plan.Inspect, plan.Survey, plan.Probe: // more to see
		return false, nil
	case plan.Promote, plan.Retire, plan.Adopt, plan.Deactivate:
		soon = true
	}
	switch {
	case !p.looked:
		return false, nil
	case len(p.later) > 0 && !soon:
		return true, p.flush()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
	defer cancel()
	user := p.entry.Record.User
	fresh, err := p.Store.Load(ctx, user)
	switch {
	case err != nil:
		return false, fmt.Errorf("loading %q: %w", user, err)
	case fresh.Version != p.saved.Version && !sameKeys(fresh.Record, p.saved.Record):
		return false, fmt.Errorf("loading %q: %w", user, ErrConflict)
	}
	p.looked = false
	if fresh.Version == p.saved.Version {
		return false, nil
	}
	p.reset(fresh)
	return true, nil
}

// flush saves what was noted, if anything was.
func (p *pass) flush() error {
	p.looked = false
	if len(p.later) == 0 {
		return nil
	}
	return p.commit(func(*Entry) {})
}

// reset goes on from what the store has, with what was noted.
func (p *pass) reset(fresh Entry) {
	p.saved, p.entry = fresh, fresh
	for _, noted := range p.later {
		noted(&p.entry)
	}
}

// commit applies what was noted, and change, to the entry and saves it, with
// its next due time. What the entry points to, change must replace, not alter.
// Changes by the hand-out (promises) and by operators
// (orders) made meanwhile are kept.
func (p *pass) commit(change func(*Entry)) error { return p.commitFor(change, p.dueOf) }

// commitFor is commit with another idea of the due time. If due says that the
// pass is over then, the save gives the lease up, too.
func (p *pass) commitFor(change func(*Entry), due func(Entry) (at time.Time, over bool)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
	defer cancel()
	for {
		p.reset(p.saved)
		next := p.entry
		change(&next)
		over := false
		if next.Due, over = due(next); p.keepLease {
			over = false
		}
		if over {
			next.Leave = p.Owner
		}
		next.Creates = p.creates(next)
		v, err := p.Store.Save(ctx, next)
		if over && !errors.Is(err, ErrConflict) {
			p.leased, p.left = time.Time{}, err == nil
		}
		next.Leave = ""
		if err == nil {
			next.Version = v
			p.saved, p.later, p.entry, p.looked = next, nil, next, false
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("saving %q: %w", next.Record.User, err)
		}
		fresh, lerr := p.Store.Load(ctx, next.Record.User)
		if lerr != nil || !sameKeys(fresh.Record, p.saved.Record) {
			return fmt.Errorf("saving %q: %w", next.Record.User, err)
		}
		p.saved = fresh
	}
}

// redate gives an order that is dated after now the time at which it is seen: AWS
// did not tell the machine the time whose clock was ahead, or has told it more
// exactly since.
func (p *pass) redate() error {
	now := p.now()
	if !p.entry.Record.OrderedAfter(now) {
		return nil
	}
	return p.commit(func(e *Entry) { e.Record = e.Record.Redated(now) })
}

// dueOf looks one step ahead: a step that is due makes the user due now. One
// that is due already stays where it is in the due index: moving it there
// costs as much as the save. over: the pass has nothing left to do then.
func (p *pass) dueOf(e Entry) (at time.Time, over bool) {
	w := p.world
	w.Record, w.Blind, w.Unseen = e.Record, false, false
	now := p.now()
	if s := plan.Next(w, p.policy, now); s.Action == plan.Wait {
		return p.wake(s), !patient(s, p.limit)
	}
	if p.isDue(e) {
		return e.Due, false
	}
	return now, false
}

// creates reports whether making a key is the next step when the entry is due.
func (p *pass) creates(e Entry) bool {
	w := p.world
	w.Record, w.Blind, w.Unseen = e.Record, false, false
	at := p.now()
	if e.Due.After(at) {
		at = e.Due
	}
	return w.Rank(plan.Next(w, p.policy, at)) == plan.RankCreate
}

// stillDue leaves a user that is due where it is, when more is to be saved in
// a moment. Should that not come, the next pass sees to it at once.
func (p *pass) stillDue(e Entry) (at time.Time, over bool) {
	if p.isDue(e) {
		return e.Due, false
	}
	at, _ = p.dueOf(e)
	return at, false
}

func (p *pass) isDue(e Entry) bool { return !e.Due.IsZero() && !e.Due.After(p.now()) }

// wake is when the user is looked at again: when the step says so, and in any
// case for the regular reconciliation with IAM.
func (p *pass) wake(step plan.Step) time.Time {
	if r := p.now().Add(p.Reconcile).Truncate(p.Reconcile / 60); step.Wake.After(r) {
		return r
	}
	return step.Wake
}

// sameKeys reports whether two records differ in nothing that a decision about
// a key rests on: promises and orders may have been added, and failures noted.
func sameKeys(a, b plan.Record) bool {
	strip := func(r plan.Record) plan.Record {
		r = r.Clone()
		for i := range r.Keys {
			k := &r.Keys[i]
			k.Promise, k.Burned, k.Dead, k.Again = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		}
		r.Order, r.Pause, r.Targets = nil, nil, nil
		r.Failures, r.RetryAt, r.Error, r.Waiting, r.Since = 0, time.Time{}, "", "", time.Time{}
		return r
	}
	a, b = strip(a), strip(b)
	return a.Equal(&b)
}
