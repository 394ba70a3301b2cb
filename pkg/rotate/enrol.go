package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// enrol returns the user's entry, made if the user is new. A user that has
// keys already is refused or its keys are kept until they are idle, as
// Existing says; one whose keys another of the stored entries holds is that
// entry's. With dry nothing is saved.
func (r *Rotator) enrol(ctx context.Context, u User, stored []*Entry, dry bool) (Entry, error) {
	e, err := r.Store.Load(ctx, u.Name)
	if err == nil || !errors.Is(err, ErrNotFound) {
		if err != nil {
			err = fmt.Errorf("loading %q: %w", u.Name, err)
		}
		return e, err
	}
	keys, err := r.IAM.Keys(ctx, u.Name)
	if err != nil {
		return Entry{}, fmt.Errorf("listing access keys of %q: %w", u.Name, err)
	}
	if u.ID == "" {
		full, err := r.IAM.User(ctx, u.Name)
		if err != nil {
			return Entry{}, fmt.Errorf("looking up user %q: %w", u.Name, err)
		}
		u = full
	}
	r.refused.Store(u.Name, true)
	if as := managedAs(u, keys, stored); as != "" {
		return Entry{}, &ManagedAsError{User: u.Name, As: as}
	}
	if len(keys) > 0 && (r.Existing != Retire || len(keys) >= plan.Quota) {
		return Entry{}, &ForeignKeysError{User: u.Name, Keys: keys}
	}
	r.refused.Delete(u.Name)
	return r.admit(ctx, u, keys, dry)
}

// admit makes an entry for a user that is new. The keys that it has are kept
// until they are idle.
func (r *Rotator) admit(ctx context.Context, u User, keys []plan.Key, dry bool) (Entry, error) {
	now := r.now()
	e := Entry{
		Record:  plan.Record{User: u.Name, UserID: u.ID, ARN: u.ARN, Enrolled: now},
		Secrets: map[string]Secret{}, Due: now, Creates: len(keys) == 0,
	}
	for _, k := range keys {
		e.Record.Keys = append(e.Record.Keys, plan.Held{
			ID: k.ID, Stage: plan.Retiring, Slot: k.Created, Created: k.Created, Made: k.Created, Adopted: true,
		})
	}
	if dry {
		return e, nil
	}
	if r.Audit != nil {
		if err := r.Audit.Append(ctx, Event{Time: now, Action: "enrol", User: u.Name, UserID: u.ID, Actor: r.Owner}); err != nil {
			return Entry{}, fmt.Errorf("auditing the enrolment of %q: %w", u.Name, err)
		}
	}
	v, err := r.Store.Save(ctx, e)
	if errors.Is(err, ErrConflict) {
		return r.Store.Load(ctx, u.Name) // another process was faster
	}
	if err != nil {
		return Entry{}, fmt.Errorf("saving %q: %w", u.Name, err)
	}
	r.Log.Info("user enrolled", "user", u.Name)
	e.Version = v
	return e, nil
}

// managedAs returns under which other name the user is managed, "" if it is
// not: the unique id and the keys are the same, whatever IAM calls the user now.
func managedAs(u User, keys []plan.Key, stored []*Entry) string {
	for _, e := range stored {
		if e.Record.User == u.Name {
			continue
		}
		if e.Record.Is(u.ID) || slices.ContainsFunc(keys, func(k plan.Key) bool { return e.Record.Key(k.ID) != nil }) {
			return e.Record.User
		}
	}
	return ""
}

// ManagedAsError says that keyrot manages the user already, under the name that
// it had when it was enrolled. It matches ErrManagedAs.
type ManagedAsError struct{ User, As string }

func (e *ManagedAsError) Error() string {
	return fmt.Sprintf("user %q is managed as %q: it was renamed in IAM, and its keys are those that keyrot rotates", e.User, e.As)
}

// Is makes errors.Is(err, ErrManagedAs) true.
func (e *ManagedAsError) Is(target error) bool { return target == ErrManagedAs }

// ForeignKeysError says which keys stand in the way of enrolling a user.
// It matches ErrForeignKey.
type ForeignKeysError struct {
	User string
	Keys []plan.Key
}

func (e *ForeignKeysError) Error() string {
	ids := make([]string, len(e.Keys))
	for i, k := range e.Keys {
		ids[i] = fmt.Sprintf("%s (%s, created %s)", ShortID(k.ID), k.Status, k.Created.Format("2006-01-02"))
	}
	return fmt.Sprintf("user %q has keys that keyrot did not create: %s", e.User, strings.Join(ids, ", "))
}

// Is makes errors.Is(err, ErrForeignKey) true.
func (e *ForeignKeysError) Is(target error) bool { return target == ErrForeignKey }

// order saves an operator's order and returns it as it stands then: see
// [plan.Record.Ordered].
func (r *Rotator) order(ctx context.Context, e Entry, o plan.Order, dry bool) (Entry, plan.Order, error) {
	user := e.Record.User
	if !dry && r.Audit != nil {
		if err := r.Audit.Append(ctx, Event{
			Time: o.At, Action: string(o.Kind), User: user, Key: o.KeyID, Reason: o.Reason, Actor: o.By,
		}); err != nil {
			return e, o, fmt.Errorf("auditing the order to %s %q: %w", o.Kind, user, err)
		}
	}
	stands := o
	e, err := r.Update(ctx, e, dry, func(rec *plan.Record) { *rec, stands = rec.Ordered(o) })
	return e, stands, err
}

// Update changes a record on an operator's behalf and makes the user due at
// once. It is repeated on the fresh entry if another process saved meanwhile.
// With dry nothing is saved.
func (r *Rotator) Update(ctx context.Context, e Entry, dry bool, change func(*plan.Record)) (Entry, error) {
	r.init()
	for {
		e.Record = e.Record.Clone()
		change(&e.Record)
		if e.Due = (time.Time{}); r.Clock.Known() { // otherwise now, whenever that is
			e.Due = r.now()
		}
		e.Creates = false // seen before keys are made: it may be a burn
		if dry {
			return e, nil
		}
		v, err := r.Store.Save(ctx, e)
		if err == nil {
			e.Version = v
			return e, nil
		}
		if !errors.Is(err, ErrConflict) {
			return e, fmt.Errorf("saving %q: %w", e.Record.User, err)
		}
		if e, err = r.Store.Load(ctx, e.Record.User); err != nil {
			return e, fmt.Errorf("loading %q: %w", e.Record.User, err)
		}
	}
}

// rehearse says what a pass would do, as if every call were to succeed. It
// reads IAM and changes nothing.
func (r *Rotator) rehearse(ctx context.Context, e Entry) UserReport {
	r.init()
	rep := UserReport{User: e.Record.User}
	_ = r.timed(ctx, e.Record.User) // nothing is saved: by whichever clock there is
	p := &pass{
		Rotator: r, way: way{turns: r.Clock.corrections()}, ctx: ctx, entry: e,
		policy: r.policy(e.Record.User, e.Record.UserID), report: rep,
	}
	p.leased = r.now().Add(24 * time.Hour) // nothing is done under it
	if err := p.observe(); err != nil {
		rep.Err = fmt.Errorf("looking at the keys of %q: %w", e.Record.User, err)
		return rep
	}
	now := r.now()
	for range maxSteps {
		p.world.Record = p.entry.Record
		step := plan.Next(p.world, p.policy, now)
		if step.Action == plan.Wait {
			rep.Wait = step
			return rep
		}
		rep.Steps = append(rep.Steps, Done{Step: step, At: now})
		var out plan.Outcome
		switch step.Action {
		case plan.Create:
			out.Key = plan.Key{ID: "(new key)", Status: plan.Active, Created: now}
			p.world.Keys = append(p.world.Keys, out.Key)
		case plan.Deactivate, plan.Reactivate:
			for i := range p.world.Keys {
				if p.world.Keys[i].ID == step.KeyID {
					p.world.Keys[i].Status = map[plan.Action]plan.Status{plan.Deactivate: plan.Inactive, plan.Reactivate: plan.Active}[step.Action]
				}
			}
		case plan.Delete:
			p.unlist(step.KeyID)
		case plan.Check:
			out.Refused = true
		case plan.Publish, plan.Copy:
			for _, o := range p.owed(step) {
				out.Answers = append(out.Answers, plan.Answer{Name: o.Name(), Until: o.until})
			}
		case plan.Adopt:
			out, _ = p.act(step) // reads the world
		case plan.Identify, plan.Inspect, plan.Survey: // reads: really asked
			var err error
			if out, err = p.act(step); err != nil {
				rep.Err = err
				return rep
			}
		}
		if p.entry.Record.Key(step.KeyID) != nil || step.KeyID == "" || step.Reason == plan.Orphan ||
			step.Action == plan.Reactivate || step.Action == plan.Delete || step.Action == plan.Notice || step.Action == plan.Dismiss ||
			step.Action == plan.Adopt {
			p.entry.Record = plan.Apply(p.entry.Record, p.policy, step, out, now)
		}
	}
	return rep
}
