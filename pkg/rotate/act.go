package rotate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// act has the step's effect. An error means that the effect is unknown or did
// not happen; the world is then not changed and looked at anew by the next
// pass. After a success the world shows the effect, because what IAM
// acknowledged is newer than what it lists.
func (p *pass) act(step plan.Step) (plan.Outcome, error) {
	var out plan.Outcome
	user := p.entry.Record.IAMName()
	switch step.Action {
	case plan.Create:
		return p.create(step)
	case plan.Deactivate:
		return out, p.setStatus(step.KeyID, plan.Inactive)
	case plan.Reactivate:
		return out, p.setStatus(step.KeyID, plan.Active)
	case plan.Delete:
		err := p.change(func(ctx context.Context) error { return p.IAM.Delete(ctx, user, step.KeyID) })
		if err != nil && !errors.Is(err, ErrNoKey) {
			return out, err
		}
		p.unlist(step.KeyID)
	case plan.Identify:
		var u User
		err := p.ask(func(ctx context.Context) (err error) {
			u, err = p.IAM.User(ctx, user)
			return err
		})
		if errors.Is(err, ErrNoUser) {
			p.world.Absent = true
			return out, nil
		}
		p.world.UserID = u.ID
		return out, err
	case plan.Inspect:
		var used time.Time
		err := p.ask(func(ctx context.Context) (err error) {
			used, err = p.IAM.LastUsed(ctx, step.KeyID)
			return err
		})
		if err != nil {
			return out, err
		}
		p.learn(step.KeyID, func(u *plan.Usage) { u.Known, u.LastUsed = true, used })
	case plan.Survey:
		return p.survey(step.KeyID)
	case plan.Verify:
		return p.verify(step.KeyID, p.Proofs)
	case plan.Probe:
		return p.verify(step.KeyID, 1)
	case plan.Check:
		return p.check(step.KeyID)
	case plan.Adopt:
		for _, k := range p.world.Keys {
			if k.ID == step.KeyID {
				out.Key = k
			}
		}
	case plan.Publish, plan.Copy:
		return p.distribute(step)
	}
	return out, nil // the rest is done by saving
}

// create writes the intent down, calls CreateAccessKey once, and saves the
// secret, whatever else is going on: IAM shows it only now.
func (p *pass) create(step plan.Step) (plan.Outcome, error) {
	id, user := rand.Text(), p.entry.Record.IAMName()
	leave, err := p.slot() // first: the intent tells when the call was made
	if err != nil {
		return plan.Outcome{}, err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	if err := p.commitFor(func(e *Entry) {
		e.Record = e.Record.WithIntent(id, p.policy, step, p.world.Keys, p.now())
	}, p.stillDue); err != nil {
		return plan.Outcome{}, fmt.Errorf("noting the intent: %w", err)
	}
	ctx, cancel := p.effect()
	defer cancel()
	key, secret, err := p.IAM.Create(ctx, user)
	leave()
	if err != nil {
		if certain(err) {
			_ = p.commit(func(e *Entry) { e.Record = e.Record.Without(id) })
		}
		return plan.Outcome{}, err
	}
	out := plan.Outcome{Key: key, Intent: id}
	now := p.now()
	p.world.Keys = append(p.world.Keys, plan.Key{ID: key.ID, Status: plan.Active, Created: key.Created})
	if err := p.keep(step, out, secret, now); err != nil {
		// The secret is lost with this process. Take the key back at once;
		// if that fails too, or the store may have it after all, the intent
		// will find it.
		if errors.Is(err, errUnread) {
			return plan.Outcome{}, fmt.Errorf("saving the new key %s: %w", ShortID(key.ID), err)
		}
		del, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), p.policy.CallTimeout)
		defer cancel()
		if derr := p.IAM.Delete(del, user, key.ID); derr == nil {
			p.unlist(key.ID)
		}
		return plan.Outcome{}, fmt.Errorf("saving the new key %s: %w", ShortID(key.ID), err)
	}
	return out, nil
}

// keep saves a created key with its secret, several times if need be.
func (p *pass) keep(step plan.Step, out plan.Outcome, secret Secret, now time.Time) error {
	var err, unread error
	for try := range 4 {
		if try > 0 {
			t := time.NewTimer(time.Duration(try) * 500 * time.Millisecond) // not cut short by a shutdown
			<-t.C
		}
		err = p.commit(func(e *Entry) {
			if e.Record.Key(out.Key.ID) == nil {
				e.Record = plan.Apply(e.Record, p.policy, step, out, now)
			}
			e.Secrets = cloneSecrets(e.Secrets)
			e.Secrets[out.Key.ID] = secret
		})
		if err == nil {
			return nil
		}
		// The failed save may have taken effect, and a promise may have been
		// saved on top of it since, which makes a conflict; a reload shows it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
		fresh, lerr := p.Store.Load(ctx, p.entry.Record.User)
		cancel()
		switch {
		case lerr != nil:
			unread = fmt.Errorf("%w: %w", errUnread, lerr)
		case fresh.Record.Key(out.Key.ID) != nil && !fresh.Secrets[out.Key.ID].IsZero():
			p.saved, p.later, p.entry, p.looked = fresh, nil, fresh, false
			return nil
		case errors.Is(err, ErrConflict):
			return err
		default:
			unread = nil
		}
	}
	return errors.Join(err, unread)
}

// errUnread: it could not be seen whether a save took effect.
var errUnread = errors.New("the store cannot be read either")

// certain reports whether the error proves that the call had no effect.
func certain(err error) bool {
	return errors.Is(err, ErrLimit) || errors.Is(err, ErrDenied) || errors.Is(err, ErrNoIdentity) ||
		errors.Is(err, ErrNoUser) || errors.Is(err, ErrThrottled) || errors.Is(err, errUnsent)
}

// ends reports whether the step takes its key away.
func ends(step plan.Step) bool { return step.Action == plan.Deactivate || step.Action == plan.Delete }

// forewarn saves that a key on its way is to be deleted. Should this process die
// during the call, whoever goes on in its place must not promote the key. For keys
// that were superseded, [plan.Record.Inherited] sees to it.
func (p *pass) forewarn(step plan.Step) error {
	k := p.entry.Record.Key(step.KeyID)
	if step.Action != plan.Delete || k == nil || k.Stage != plan.Pending || !k.Refused.IsZero() {
		return nil
	}
	return p.commitFor(func(e *Entry) { e.Record = e.Record.EndsLate(p.policy, step.KeyID, p.now()) }, p.stillDue)
}

// hold returns once it is saved that a key may be taken away by a call that got
// no answer, or when that is over: nobody else may put the key back into service
// meanwhile. If the process has to stop before, the lease stays.
func (p *pass) hold(until time.Time) {
	for err := p.flush(); err != nil && p.now().Before(until); err = p.flush() {
		if errors.Is(err, ErrConflict) || p.sleep(time.Second) != nil {
			p.keepLease = true
			return
		}
	}
}

func (p *pass) setStatus(id string, s plan.Status) error {
	err := p.change(func(ctx context.Context) error { return p.IAM.SetStatus(ctx, p.entry.Record.IAMName(), id, s) })
	if errors.Is(err, ErrNoKey) && s == plan.Inactive && !p.world.Unseen {
		p.unlist(id) // it does not work any more, which is what was wanted
		return nil
	}
	if err != nil {
		return err
	}
	for i := range p.world.Keys {
		if p.world.Keys[i].ID == id {
			p.world.Keys[i].Status = s
		}
	}
	return nil
}

// verify makes n GetCallerIdentity calls in a row with the pair. One refusal
// ends it; an error that says nothing about the key is returned.
func (p *pass) verify(id string, n int) (plan.Outcome, error) {
	rec := p.entry.Record
	u := User{Name: rec.IAMName(), ID: rec.UserID, ARN: rec.ARN}
	secret, ok := p.entry.Secrets[id]
	if !ok || secret.IsZero() {
		return plan.Outcome{}, fmt.Errorf("the secret of key %s is not in the store", ShortID(id))
	}
	for i := range n {
		if err := p.gap(i); err != nil {
			return plan.Outcome{}, err
		}
		err := p.ask(func(ctx context.Context) error { return p.IAM.Verify(ctx, u, id, secret) })
		if errors.Is(err, ErrRefused) {
			return plan.Outcome{Refused: true}, nil
		}
		if err != nil {
			return plan.Outcome{}, err
		}
	}
	return plan.Outcome{}, nil
}

// gap is the pause before the i-th call of a proof, which is to begin ProofGap
// after the one before it began.
func (p *pass) gap(i int) error {
	left := p.asked.Add(p.ProofGap).Sub(mono())
	if i == 0 || left <= 0 {
		return nil
	}
	return p.sleep(left)
}

// check asks AWS, as often as makes a proof, whether it refuses the key: one
// answer that accepts it is enough to say that it does not. For a key whose
// secret is not known, IAM's list has to do.
func (p *pass) check(id string) (plan.Outcome, error) {
	if p.entry.Secrets[id].IsZero() {
		active := slices.ContainsFunc(p.world.Keys, func(k plan.Key) bool { return k.ID == id && k.Status == plan.Active })
		return plan.Outcome{Refused: !active}, nil
	}
	for i := range p.Proofs {
		if err := p.gap(i); err != nil {
			return plan.Outcome{}, err
		}
		if out, err := p.verify(id, 1); err != nil || !out.Refused {
			return out, err
		}
	}
	return plan.Outcome{Refused: true}, nil
}

func (p *pass) survey(id string) (plan.Outcome, error) {
	var holders []string
	if p.Handouts != nil {
		var err error
		if holders, err = p.Handouts.Holders(p.ctx, p.entry.Record.User, id); err != nil {
			return plan.Outcome{}, err
		}
	}
	p.learn(id, func(u *plan.Usage) { u.Surveyed, u.Holders = true, holders })
	return plan.Outcome{Holders: holders}, nil
}

func (p *pass) learn(id string, f func(*plan.Usage)) {
	for i := range p.world.Keys {
		if p.world.Keys[i].ID == id {
			f(&p.world.Keys[i].Usage)
		}
	}
}

func (p *pass) unlist(id string) {
	keys := p.world.Keys[:0:0]
	for _, k := range p.world.Keys {
		if k.ID != id {
			keys = append(keys, k)
		}
	}
	p.world.Keys = keys
}

func cloneSecrets(m map[string]Secret) map[string]Secret {
	if m == nil {
		return map[string]Secret{}
	}
	return maps.Clone(m)
}

// ShortID shortens an access key id for logs and screens: AKIA…F2. Whole ids
// belong in the audit log.
func ShortID(id string) string {
	if len(id) <= 8 {
		return id
	}
	return id[:4] + "…" + id[len(id)-2:]
}
