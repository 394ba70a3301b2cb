package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// What an operator asked for cannot be done as things are.
var (
	ErrNotManaged        = errors.New("not managed by keyrot")
	ErrNothingToRollBack = errors.New("there is no previous key to go back to")
	ErrNotHeld           = errors.New("keyrot does not hold this key")
	ErrNotPaused         = errors.New("user is not paused")
)

// Order saves an operator's order; the next pass over the user, in whichever
// process, carries it out. A rollback without a key means the newest Previous
// one, a burn without a key the Current one. ErrNotManaged if the user is not
// managed, ErrNothingToRollBack or ErrNotHeld if there is nothing to act on.
func (r *Rotator) Order(ctx context.Context, user string, o plan.Order) (plan.Order, error) {
	r.init()
	e, err := r.managed(ctx, user)
	if err != nil {
		return o, err
	}
	if o.KeyID != "" && e.Record.Key(o.KeyID) == nil {
		return o, fmt.Errorf("user %q, key %q: %w", user, ShortID(o.KeyID), ErrNotHeld)
	}
	switch o.Kind {
	case plan.Rollback:
		if o.KeyID == "" {
			if k := e.Record.In(plan.Previous); k != nil && k.Burned.IsZero() {
				o.KeyID = k.ID
			}
		}
		if k := e.Record.Key(o.KeyID); k == nil || k.Stage != plan.Previous || !k.Burned.IsZero() || e.Secrets[o.KeyID].IsZero() {
			return o, fmt.Errorf("user %q: %w", user, ErrNothingToRollBack)
		}
	case plan.Burn:
		if o.KeyID == "" {
			if k := e.Record.In(plan.Current); k != nil {
				o.KeyID = k.ID
			}
		}
		if e.Record.Key(o.KeyID) == nil {
			return o, fmt.Errorf("user %q, key %q: %w", user, ShortID(o.KeyID), ErrNotHeld)
		}
	}
	o.At = r.now()
	if !r.Dry {
		_, o, err = r.order(ctx, e, o, false)
	}
	return o, err
}

// managed loads the user's entry.
func (r *Rotator) managed(ctx context.Context, user string) (Entry, error) {
	e, err := r.Store.Load(ctx, user)
	switch {
	case errors.Is(err, ErrNotFound):
		return e, fmt.Errorf("user %q: %w", user, ErrNotManaged)
	case err != nil:
		return e, fmt.Errorf("loading %q: %w", user, err)
	}
	return e, nil
}

// Pause freezes the user until then (zero: until resumed): nothing is changed
// in IAM, the Current key is served with a rolling Expiration. An order to
// burn or to roll back is carried out nevertheless.
func (r *Rotator) Pause(ctx context.Context, user string, until time.Time, reason, by string) error {
	p := plan.Pause{Since: r.now(), Until: until, Reason: reason, By: by}
	return r.change(ctx, user, "pause", reason, by, func(rec *plan.Record) error {
		rec.Pause = &p
		return nil
	})
}

// Resume ends a pause. ErrNotPaused if there is none.
func (r *Rotator) Resume(ctx context.Context, user, by string) error {
	return r.change(ctx, user, "resume", "", by, func(rec *plan.Record) error {
		if !rec.Paused(r.now()) {
			return ErrNotPaused
		}
		rec.Pause = nil
		return nil
	})
}

// Republish has the user's pair given to all publishers again, also to those
// that confirmed it. See [Rotator.Published].
func (r *Rotator) Republish(ctx context.Context, user, reason, by string) error {
	return r.change(ctx, user, "republish", reason, by, func(rec *plan.Record) error {
		if rec.In(plan.Current) == nil {
			return ErrNoKeyReady
		}
		*rec = rec.Republish()
		return nil
	})
}

// Release begins to let the user go: no new rotation is started, and what is
// under way is finished, which leaves one working key. See [Rotator.Let].
func (r *Rotator) Release(ctx context.Context, user, by string) error {
	return r.change(ctx, user, "release", "", by, func(rec *plan.Record) error {
		if rec.Released.IsZero() {
			rec.Released = r.now()
		}
		return nil
	})
}

// Let forgets a released user once one key is left. show is called with that
// key and its secret before the store forgets them: nobody else has them then.
// If it fails, nothing is forgotten. done is false while other keys still wait
// to be deleted; until says when to ask again.
func (r *Rotator) Let(ctx context.Context, user string, show func(Credential) error) (done bool, until time.Time, err error) {
	rep := r.attended(ctx, user, 0)
	if rep.Err != nil {
		return false, time.Time{}, rep.Err
	}
	e, err := r.managed(ctx, user)
	if err != nil {
		return false, time.Time{}, err
	}
	if len(e.Record.Keys) > 1 || e.Record.Released.IsZero() {
		return false, e.Due, nil
	}
	left := Credential{User: user, UserID: e.Record.UserID}
	if k := e.Record.In(plan.Current); k != nil {
		left.KeyID, left.Secret, left.Created = k.ID, e.Secrets[k.ID], k.Created
	}
	if err := r.record(ctx, "released", user, left.KeyID, "", ""); err != nil {
		return false, time.Time{}, err
	}
	if err := show(left); err != nil {
		return false, time.Time{}, fmt.Errorf("showing the key that is left of %q: %w", user, err)
	}
	if err := r.forget(ctx, e); err != nil {
		return false, time.Time{}, err
	}
	return true, time.Time{}, nil
}

// forget removes the entry, several times if need be: an answer may get lost.
// What was saved meanwhile is no hindrance unless the keys are others.
func (r *Rotator) forget(ctx context.Context, e Entry) error {
	user := e.Record.User
	for try := 1; ; try++ {
		err := r.Store.Remove(ctx, user, e.Version)
		switch {
		case err == nil:
			return nil
		case try == 4, ctx.Err() != nil:
			return fmt.Errorf("removing %q: %w", user, err)
		}
		fresh, lerr := r.Store.Load(ctx, user)
		switch {
		case errors.Is(lerr, ErrNotFound):
			return nil
		case lerr == nil && !sameKeys(fresh.Record, e.Record):
			return fmt.Errorf("removing %q: %w", user, ErrConflict)
		case lerr == nil:
			e = fresh
		}
		t := time.NewTimer(time.Duration(try) * 500 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Import enrols a user with a key that was made before: it is proven like a
// new one and then rotated. ErrRefused if AWS does not accept the pair,
// ErrConflict if the user is managed already, ErrForeignKey if it has other
// keys besides.
func (r *Rotator) Import(ctx context.Context, user, keyID string, secret Secret, by string) error {
	r.init()
	u, err := r.IAM.User(ctx, user)
	if err != nil {
		return fmt.Errorf("looking up user %q: %w", user, err)
	}
	keys, err := r.IAM.Keys(ctx, user)
	if err != nil {
		return fmt.Errorf("listing access keys of %q: %w", user, err)
	}
	stored, err := r.Store.List(ctx)
	if err != nil {
		return fmt.Errorf("listing the store: %w", err)
	}
	if as := managedAs(u, keys, pointers(stored)); as != "" {
		return &ManagedAsError{User: user, As: as}
	}
	i := slices.IndexFunc(keys, func(k plan.Key) bool { return k.ID == keyID })
	if i < 0 {
		return fmt.Errorf("user %q, key %s: %w", user, ShortID(keyID), ErrNoKey)
	}
	if len(keys) > 1 {
		return &ForeignKeysError{User: user, Keys: slices.Delete(slices.Clone(keys), i, i+1)}
	}
	if err := r.IAM.Verify(ctx, u, keyID, secret); err != nil {
		return fmt.Errorf("verifying key %s of %q: %w", ShortID(keyID), user, err)
	}
	if _, err := r.Store.Load(ctx, user); err == nil {
		return fmt.Errorf("user %q: %w", user, ErrConflict)
	}
	now := r.now()
	if r.Dry {
		return nil
	}
	if err := r.record(ctx, "import", user, keyID, "", by); err != nil {
		return err
	}
	e := Entry{
		Record: plan.Record{
			User: user, UserID: u.ID, ARN: u.ARN, Enrolled: now, Slot: now,
			Keys: []plan.Held{{ID: keyID, Stage: plan.Pending, Slot: now, Created: keys[i].Created, Made: now, Adopted: true}},
		},
		Secrets: map[string]Secret{keyID: secret}, Due: now,
	}
	if _, err = r.Store.Save(ctx, e); err != nil && !r.holds(ctx, user, keyID, secret) {
		return fmt.Errorf("saving %q: %w", user, err)
	}
	return nil
}

// holds reports whether the store has the key with its secret: a save that
// failed, or met a conflict, may have taken effect.
func (r *Rotator) holds(ctx context.Context, user, keyID string, secret Secret) bool {
	e, err := r.Store.Load(ctx, user)
	return err == nil && e.Record.Key(keyID) != nil && e.Secrets[keyID].Reveal() == secret.Reveal()
}

// Acknowledge notes that a caller has taken the Current key over by other
// means, so that the in-use gate no longer waits for it.
func (r *Rotator) Acknowledge(ctx context.Context, user, caller, by string) error {
	r.init()
	e, err := r.managed(ctx, user)
	if err != nil {
		return err
	}
	k := e.Record.In(plan.Current)
	if k == nil {
		return fmt.Errorf("user %q: %w", user, ErrNoKeyReady)
	}
	if r.Dry {
		return nil
	}
	if err := r.record(ctx, "ack", user, k.ID, caller, by); err != nil {
		return err
	}
	if err := r.Handouts.RecordHandout(ctx, caller, user, k.ID, "acknowledged by "+by, r.now()); err != nil {
		return err
	}
	_, err = r.Update(ctx, e, false, func(*plan.Record) {}) // look again at once
	return err
}

// change puts an operator's change on record, then makes it.
func (r *Rotator) change(ctx context.Context, user, what, reason, by string, f func(*plan.Record) error) error {
	r.init()
	e, err := r.managed(ctx, user)
	if err != nil {
		return err
	}
	probe := e.Record.Clone()
	if err := f(&probe); err != nil {
		return fmt.Errorf("user %q: %w", user, err)
	}
	if r.Dry {
		return nil
	}
	if err := r.record(ctx, what, user, "", reason, by); err != nil {
		return err
	}
	_, err = r.Update(ctx, e, false, func(rec *plan.Record) { _ = f(rec) })
	return err
}

func (r *Rotator) record(ctx context.Context, what, user, key, reason, by string) error {
	if r.Audit == nil {
		return nil
	}
	if err := r.Audit.Append(ctx, Event{Time: r.now(), Action: what, User: user, Key: key, Reason: reason, Actor: by}); err != nil {
		return fmt.Errorf("auditing %s of %q: %w", what, user, err)
	}
	return nil
}

// Rehearse says what carrying the order out would take, as if every call were
// to succeed. It reads IAM and changes nothing. See [Rotator.Order].
func (r *Rotator) Rehearse(ctx context.Context, user string, o plan.Order) (UserReport, error) {
	e, err := r.managed(ctx, user)
	if err != nil {
		return UserReport{}, err
	}
	o.At = r.now().Add(-time.Millisecond) // what is proven now is proven after it
	e.Record, _ = e.Record.Ordered(o)
	return r.rehearse(ctx, e), nil
}
