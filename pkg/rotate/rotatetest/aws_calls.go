package rotatetest

import (
	"context"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// User implements [rotate.IAM].
func (a *AWS) User(ctx context.Context, name string) (rotate.User, error) {
	var found rotate.User
	err := a.call(ctx, GetUser, name, "", func(time.Time) error {
		u := a.users[name]
		if u == nil {
			return rotate.ErrNoUser
		}
		found = u.User
		return nil
	})
	return orZero(found, err)
}

// Keys implements [rotate.IAM]. The order is arbitrary.
func (a *AWS) Keys(ctx context.Context, name string) ([]plan.Key, error) {
	var list []plan.Key
	err := a.call(ctx, ListKeys, name, "", func(now time.Time) error {
		u := a.users[name]
		if u == nil {
			return rotate.ErrNoUser
		}
		a.sweep(u, now)
		r := a.dice("list "+name, now)
		for _, k := range u.keys {
			if s := k.status(listView, now, r); s != statusGone {
				list = append(list, plan.Key{ID: k.id, Status: s, Created: k.created})
			}
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return nil
	})
	return orZero(list, err)
}

// LastUsed implements [rotate.IAM]. ErrNoKey if the key is gone.
func (a *AWS) LastUsed(ctx context.Context, keyID string) (time.Time, error) {
	var at time.Time
	err := a.call(ctx, KeyLastUsed, "", keyID, func(now time.Time) error {
		k := a.keys[keyID]
		if k == nil || k.truth() == statusGone {
			return rotate.ErrNoKey
		}
		k.reported(now)
		if !k.lastUsed.IsZero() {
			at = k.lastUsed.Truncate(time.Second)
		}
		return nil
	})
	return orZero(at, err)
}

// Create implements [rotate.IAM].
func (a *AWS) Create(ctx context.Context, name string) (plan.Key, rotate.Secret, error) {
	var made *key
	err := a.call(ctx, CreateKey, name, "", func(now time.Time) error {
		u := a.users[name]
		if u == nil {
			return rotate.ErrNoUser
		}
		var err error
		made, err = a.create(u, now)
		return err
	})
	if err != nil {
		return plan.Key{}, rotate.Secret{}, err
	}
	return plan.Key{ID: made.id, Status: plan.Active, Created: made.created}, rotate.NewSecret(made.secret), nil
}

// SetStatus implements [rotate.IAM].
func (a *AWS) SetStatus(ctx context.Context, name, keyID string, s plan.Status) error {
	return a.call(ctx, UpdateKey, name, keyID, func(now time.Time) error {
		k, err := a.find(name, keyID)
		if err != nil {
			return err
		}
		if s != plan.Active && s != plan.Inactive {
			return fmt.Errorf("ValidationError: status %q", s)
		}
		if k.truth() != s {
			a.set(k, s, now)
		}
		return nil
	})
}

// Delete implements [rotate.IAM].
func (a *AWS) Delete(ctx context.Context, name, keyID string) error {
	return a.call(ctx, DeleteKey, name, keyID, func(now time.Time) error {
		if k, err := a.find(name, keyID); err == nil {
			a.set(k, statusGone, now)
		}
		return nil // a key that is gone already is success
	})
}

// Verify implements [rotate.IAM].
func (a *AWS) Verify(ctx context.Context, u rotate.User, keyID string, s rotate.Secret) error {
	return a.call(ctx, CallerIdentity, u.Name, keyID, func(now time.Time) error {
		k, err := a.use(keyID, s.Reveal(), now)
		if err != nil {
			return err
		}
		if k.owner.ID != u.ID {
			return fmt.Errorf("key belongs to %s (%s), not to %s (%s)", k.owner.Name, k.owner.ID, u.Name, u.ID)
		}
		return nil
	})
}

// find returns the key of the user as IAM really has it. mu must be held.
func (a *AWS) find(name, keyID string) (*key, error) {
	if a.users[name] == nil {
		return nil, rotate.ErrNoUser
	}
	k := a.keys[keyID]
	if k == nil || k.owner != a.users[name] || k.truth() == statusGone {
		return nil, rotate.ErrNoKey
	}
	return k, nil
}
