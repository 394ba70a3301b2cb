package rotate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Recipient is who a credential is handed out to.
type Recipient struct {
	Caller string // API key id or another authenticated name
	Addr   string // network address, for the record
	// Holds reports whether the recipient has the credential already, so that
	// it is not sent and nothing is recorded again. nil: it has none.
	Holds func(Credential) bool
}

// Dispenser hands out the Current keys. It is safe for concurrent use, also by
// several processes over one store.
type Dispenser struct {
	Store    Store
	Policy   func(user string) plan.Policy // nil: the default policy for all
	Audit    Audit                         // nil: nothing is recorded
	Handouts Handouts                      // nil: nobody remembers who holds what
	Clock    *Clock                        // AWS's time, which promises are made in

	last sync.Map // user → Credential: what was handed out last, for when the store is down
}

// Give returns the key that works now, with the instant until which it will.
// The hand-out is on record before Give returns, unless the recipient holds it
// already. Errors: ErrNotFound (the user
// is not managed), ErrNoKeyReady (nothing certainly works at the moment),
// or what the store or the audit log answered.
func (d *Dispenser) Give(ctx context.Context, user string, to Recipient) (Credential, error) {
	c, err := d.offer(ctx, user)
	if err != nil {
		return Credential{}, err
	}
	if to.Holds != nil && to.Holds(c) {
		return c, nil
	}
	at := d.Clock.Now().UTC()
	if d.Audit != nil {
		if err := d.Audit.Append(ctx, Event{
			Time: at, Action: "handout", User: user, UserID: c.UserID, Key: c.KeyID,
			Due: c.Expiration, Caller: to.Caller, Addr: to.Addr, Result: "ok",
		}); err != nil {
			return Credential{}, fmt.Errorf("auditing the hand-out: %w", err)
		}
	}
	if d.Handouts != nil {
		if err := d.Handouts.RecordHandout(ctx, to.Caller, user, c.KeyID, to.Addr, at); err != nil {
			return Credential{}, fmt.Errorf("noting the hand-out: %w", err)
		}
	}
	return c, nil
}

func (d *Dispenser) offer(ctx context.Context, user string) (Credential, error) {
	var policy plan.Policy
	if d.Policy != nil {
		policy = d.Policy(user)
	}
	for {
		e, err := d.Store.Load(ctx, user)
		sure := d.Clock.Settle(ctx) // after the store, whose answer may have told the time
		now := d.Clock.Now().UTC()
		if errors.Is(err, ErrNotFound) {
			d.last.Delete(user)
		}
		if err != nil {
			// The promise that was given holds whether or not the store can
			// be read: nothing is deactivated without saving there first.
			if c, ok := d.last.Load(user); ok && c.(Credential).Expiration.After(now.Add(time.Second)) {
				return c.(Credential), nil
			}
			return Credential{}, fmt.Errorf("loading %q: %w", user, err)
		}
		o, ok := plan.Serve(e.Record, policy, now)
		secret := e.Secrets[o.KeyID]
		if !ok || secret.IsZero() {
			return Credential{}, fmt.Errorf("user %q: %w", user, ErrNoKeyReady)
		}
		c := Credential{User: user, UserID: e.Record.UserID, KeyID: o.KeyID, Secret: secret, Created: o.Created, Expiration: o.Expiration}
		if !o.Roll {
			d.last.Store(user, c)
			return c, nil
		}
		old := e.Record.Key(o.KeyID).Promise
		if !sure {
			// A promise by a wrong clock would block the user, or be broken.
			if old.After(now.Add(time.Second)) {
				c.Expiration = old
				return c, nil
			}
			return Credential{}, fmt.Errorf("user %q: %w", user, errors.Join(ErrNoKeyReady, ErrNoTime))
		}
		// The promise is saved before it leaves, so that every process that
		// might deactivate the key knows of it.
		promised := e
		promised.Record = e.Record.Promised(o)
		_, err = d.Store.Save(ctx, promised)
		switch {
		case err == nil:
			d.last.Store(user, c)
			return c, nil
		case errors.Is(err, ErrConflict):
			continue
		}
		if old.After(now.Add(time.Second)) {
			c.Expiration = old // short, but kept
			return c, nil
		}
		return Credential{}, fmt.Errorf("saving the promise for %q: %w", user, errors.Join(ErrNoKeyReady, err))
	}
}
