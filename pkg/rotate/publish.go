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
	askForBurn         = 2 * time.Second // how often the store is asked during a call
)

// publish gives a pair to outlets. While all of them are too busy, or down, they
// are put off, and nothing is told.
func (p *pass) publish(step plan.Step) error {
	var out plan.Outcome
	for _, pub := range p.owed(step) {
		if !covers(pub.Publisher, p.entry.Record.User) {
			return p.do(step)
		}
		leave, wait, entered := p.visit(step, pub)
		if entered {
			p.entered, p.leave = pub.Name(), leave
			defer p.unused()
			return p.do(step)
		}
		out.Answers = append(out.Answers, plan.Answer{Name: pub.Name(), Busy: true, Wait: wait})
	}
	return p.save(step, out)
}

// visit takes a slot of the publisher's, or the one that publish took. A key on
// its way waits for it shortly.
func (p *pass) visit(step plan.Step, pub owing) (leave func(verdict) change, wait time.Duration, entered bool) {
	if p.leave != nil && p.entered == pub.Name() {
		leave, p.leave = p.leave, nil
		return leave, 0, true
	}
	o, v := p.outlet(pub.Name()), p.visitor(step, pub.Publisher)
	return o.enter(v, func(at *place) error {
		patience := queueTime
		if v.rank == plan.RankCreate || step.Action == plan.Copy {
			patience = 0
		}
		return p.keeping(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			return at.wait(ctx)
		})
	})
}

// unused gives back a slot that publish took and no call was made with.
func (p *pass) unused() {
	if p.leave != nil {
		p.leave(noVerdict)
		p.leave = nil
	}
}

// owing is a publisher that is owed the step's key.
type owing struct {
	Publisher
	until time.Time // with this Expiration, which must be promised first; zero: as it was promised
}

func (p *pass) owed(step plan.Step) (all []owing) {
	required := step.Action == plan.Publish
	pubs := p.Publishers
	if !required {
		pubs = p.Optional
	}
	for _, o := range p.entry.Record.Owed(p.policy, step.KeyID, required, p.now()) {
		if i := slices.IndexFunc(pubs, func(pub Publisher) bool { return pub.Name() == o.Name }); i >= 0 {
			all = append(all, owing{pubs[i], o.Until})
		}
	}
	return all
}

// distribute gives the pair to the publishers that are owed it. One that fails
// does not keep the others from getting it.
func (p *pass) distribute(step plan.Step) (out plan.Outcome, err error) {
	var errs []error
	for _, o := range p.owed(step) {
		a, err := p.give(step, o)
		out.Answers = append(out.Answers, a)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// give gives the pair to one publisher. If it is owed an Expiration, the key is
// promised until then before its readers are told so.
func (p *pass) give(step plan.Step, o owing) (plan.Answer, error) {
	a := plan.Answer{Name: o.Name(), Until: later(o.until, p.credential(step.KeyID).Expiration)}
	if !covers(o.Publisher, p.entry.Record.User) {
		return a, nil
	}
	leave, wait, entered := p.visit(step, o)
	if !entered {
		a.Busy, a.Wait = true, wait
		return a, nil
	}
	said := noVerdict
	var err error
	defer func() { p.changed(leave(said), a.Name, err) }()
	if !o.until.IsZero() {
		if err = p.commit(func(e *Entry) {
			e.Record = e.Record.Promised(plan.Offer{KeyID: step.KeyID, Expiration: o.until})
		}); err != nil {
			a.Busy = true
			return a, err
		}
	}
	c := p.credential(step.KeyID)
	a.Until = c.Expiration
	var interrupted bool
	if said, interrupted, err = p.call(step, o.Publisher, c); err == nil {
		return a, nil
	}
	kind := "publisher"
	if step.Action == plan.Copy {
		kind = "optional publisher"
	}
	err = fmt.Errorf("%s %s: %w", kind, a.Name, unspoken(err, c.Secret))
	a.Error = err.Error()
	a.Busy = interrupted || p.private // the failure is this process's own
	if a.Down = p.outlet(a.Name).down(); a.Down && said == fails {
		err = &down{err}
	}
	return a, err
}

// down is a failure of a publisher that is not the user's.
type down struct{ error }

func (d *down) Unwrap() []error { return []error{d.error, ErrTargetDown} }

// call makes one call of a publisher, within its own timeout. An optional one
// must be over when something else is due. A burn that is ordered meanwhile
// interrupts it.
func (p *pass) call(step plan.Step, pub Publisher, c Credential) (said verdict, interrupted bool, err error) {
	d := pub.Traits().Timeout
	if d <= 0 {
		d = defaultPublication
	}
	d = min(d, LongestPublication)
	if err := p.outlast(c.User, d+5*time.Second); err != nil {
		return noVerdict, false, err
	}
	whole := true
	if step.Action == plan.Copy && !step.Wake.IsZero() {
		left := max(step.Wake.Sub(p.now()), 100*time.Millisecond)
		d, whole = min(d, left), d <= left
	}
	if err := p.timely(); err != nil {
		return noVerdict, false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), d)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { interrupted = p.burnOrdered(ctx, p.entry.Record, cancel) })
	err = pub.Publish(ctx, c)
	cut := ctx.Err() != nil && !whole
	cancel()
	wg.Wait()
	switch {
	case err == nil:
		said = works
	case !interrupted && !cut:
		said = fails
	}
	return said, interrupted, err
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
