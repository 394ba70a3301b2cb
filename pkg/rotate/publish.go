package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// LongestPublication bounds the Timeout of a publisher: the user's lease must
// outlast it.
const LongestPublication = 45 * time.Second

const (
	defaultPublication = 15 * time.Second
	outletSlots        = 16              // users that one publisher is asked for at once
	retrySlots         = outletSlots / 2 // of them, those that it failed for before
	askForBurn         = 2 * time.Second // how often the store is asked during a call
)

// outlet bounds how many wait for one publisher: one that hangs takes nothing
// from the others, and users that it hangs for leave slots to the rest.
type outlet struct {
	mu             sync.Mutex
	busy, retrying int
}

// enter takes a slot if there is one. again: it failed for the user before.
func (o *outlet) enter(again bool) (leave func(), entered bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.room(again) {
		return nil, false
	}
	o.count(again, 1)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.count(again, -1)
	}, true
}

func (o *outlet) count(again bool, n int) {
	o.busy += n
	if again {
		o.retrying += n
	}
}

func (o *outlet) room(again bool) bool {
	return o.busy < outletSlots && (!again || o.retrying < retrySlots)
}

func (o *outlet) free(again bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.room(again)
}

func (r *Rotator) outlet(name string) *outlet {
	v, _ := r.outlets.LoadOrStore(name, &outlet{})
	return v.(*outlet)
}

// publish gives a pair to outlets. It does without a worker, of which one that
// hangs would take more and more from rotations that are due. While all of them
// are too busy, they are put off, and nothing is told.
func (p *pass) publish(step plan.Step) error {
	if p.free != nil {
		p.free()
	}
	owed := p.owed(step)
	if slices.ContainsFunc(owed, func(o plan.Owed) bool { return p.outlet(o.Name).free(p.failedBefore(o.Name)) }) {
		return p.do(step)
	}
	var out plan.Outcome
	for _, o := range owed {
		out.Answers = append(out.Answers, plan.Answer{Name: o.Name, Busy: true})
	}
	return p.save(step, out)
}

func (p *pass) owed(step plan.Step) []plan.Owed {
	return p.entry.Record.Owed(p.policy, step.KeyID, step.Action == plan.Publish, p.now())
}

func (p *pass) failedBefore(name string) bool {
	t := p.entry.Record.Target(name)
	return t != nil && t.Tries > 0
}

// distribute gives the pair to the publishers that are owed it. One that fails
// does not keep the others from getting it.
func (p *pass) distribute(step plan.Step) (out plan.Outcome, err error) {
	pubs := p.Publishers
	if step.Action == plan.Copy {
		pubs = p.Optional
	}
	var errs []error
	for _, o := range p.owed(step) {
		i := slices.IndexFunc(pubs, func(pub Publisher) bool { return pub.Name() == o.Name })
		if i < 0 {
			continue
		}
		a, err := p.give(step, pubs[i], o.Until)
		out.Answers = append(out.Answers, a)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// give gives the pair to one publisher. If until is set, the key is promised
// until then before its readers are told so.
func (p *pass) give(step plan.Step, pub Publisher, until time.Time) (plan.Answer, error) {
	a := plan.Answer{Name: pub.Name()}
	leave, entered := p.outlet(a.Name).enter(p.failedBefore(a.Name))
	if !entered {
		a.Busy = true
		return a, nil
	}
	defer leave()
	if !until.IsZero() {
		if err := p.commit(func(e *Entry) {
			e.Record = e.Record.Promised(plan.Offer{KeyID: step.KeyID, Expiration: until})
		}); err != nil {
			a.Busy = true
			return a, err
		}
	}
	c := p.credential(step.KeyID)
	a.Until = c.Expiration
	interrupted, err := p.call(step, pub, c)
	if err == nil {
		return a, nil
	}
	kind := "publisher"
	if step.Action == plan.Copy {
		kind = "optional publisher"
	}
	err = fmt.Errorf("%s %s: %w", kind, a.Name, unspoken(err, c.Secret))
	a.Error = err.Error()
	a.Busy = interrupted || p.private // the failure is this process's own
	return a, err
}

// call makes one call of a publisher, within its own timeout. An optional one
// must be over when something else is due. A burn that is ordered meanwhile
// interrupts it.
func (p *pass) call(step plan.Step, pub Publisher, c Credential) (interrupted bool, err error) {
	d := pub.Traits().Timeout
	if d <= 0 {
		d = defaultPublication
	}
	d = min(d, LongestPublication)
	if p.leased.Sub(p.now()) < d+5*time.Second {
		until, err := p.acquire(p.ctx, c.User)
		if err != nil {
			return false, err
		}
		p.leased = until
	}
	if step.Action == plan.Copy && !step.Wake.IsZero() {
		d = min(d, max(step.Wake.Sub(p.now()), 100*time.Millisecond))
	}
	if err := p.timely(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), d)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { interrupted = p.burnOrdered(ctx, p.entry.Record, cancel) })
	err = pub.Publish(ctx, c)
	cancel()
	wg.Wait()
	return interrupted, err
}

// burnOrdered calls stop once the store has a burn that the record does not
// have: it must not wait for a publisher. It returns when ctx ends.
func (p *pass) burnOrdered(ctx context.Context, had plan.Record, stop func()) bool {
	t := time.NewTicker(askForBurn)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		fresh, err := p.Store.Load(ctx, had.User)
		if err != nil {
			continue
		}
		for _, k := range fresh.Record.Keys {
			if old := had.Key(k.ID); !k.Burned.IsZero() && (old == nil || old.Burned.IsZero()) {
				stop()
				return true
			}
		}
	}
}

// credential is the pair as it is published: with what is promised for it.
func (p *pass) credential(id string) Credential {
	k := p.entry.Record.Key(id)
	until := k.Promise
	if k.Stage != plan.Current { // it is promised as it becomes Current
		until = later(until, k.Slot.Add(p.policy.DeactivateAfter-p.policy.Grace))
	}
	return Credential{
		User: p.entry.Record.User, UserID: p.entry.Record.UserID, KeyID: id, Secret: p.entry.Secrets[id],
		Created: k.Created, Expiration: until,
	}
}

// unspoken returns err, or, should a publisher have put the secret into its
// text, an error without it: the text is saved and logged.
func unspoken(err error, s Secret) error {
	if s.IsZero() || !strings.Contains(err.Error(), s.Reveal()) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), s.Reveal(), redacted))
}

// serveReaders gives readers of targets what they are owed though AWS failed:
// that needs none of it. What fails is noted with the targets.
func (p *pass) serveReaders(user string) {
	next := func() plan.Step {
		p.world.Record = p.entry.Record
		return plan.Next(p.world, p.policy, p.now())
	}
	step := next()
	if step.Action == plan.Publish {
		if p.ctx.Err() != nil || p.timely() != nil || p.lease(user) != nil {
			return
		}
		if err := p.publish(step); err != nil {
			p.Log.Warn("readers were not served", "user", user, "key", ShortID(step.KeyID), "err", err)
			return
		}
		step = next()
	}
	if step.Action == plan.Wait {
		p.restUntil(user, step.Wake)
	}
}
