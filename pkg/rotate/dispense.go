package rotate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// hangPause is how long a store that hung is left alone.
const hangPause = 5 * time.Second

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
	Peek     func(ctx context.Context, user string) (Entry, error) // Load that may be a second old and costs less, for who holds the key; nil: there is none
	Policy   func(user string) plan.Policy                         // nil: the default policy for all
	Audit    Audit                                                 // nil: nothing is recorded
	Handouts Handouts                                              // nil: nobody remembers who holds what
	Late     *Late                                                 // records instead of Audit and Handouts; nil: what cannot be recorded is refused
	Clock    *Clock                                                // AWS's time, which promises are made in

	last     sync.Map // user → Credential: what was handed out last, for when the store is down
	patience patience
	hangs    atomic.Pointer[time.Time] // until when a store that hung is not asked again, by the monotonic clock
}

// Give returns the key that works now, with the instant until which it will.
// The hand-out is on record before Give returns, or kept by Late, unless the
// recipient holds it already. Errors: ErrNotFound (the user
// is not managed), ErrNoKeyReady (nothing certainly works at the moment),
// or what the store or the audit log answered.
func (d *Dispenser) Give(ctx context.Context, user string, to Recipient) (Credential, error) {
	if to.Holds != nil {
		if c, ok := d.peek(ctx, user); ok && to.Holds(c) {
			return c, nil
		}
	}
	c, err := d.offer(ctx, user)
	if err != nil {
		return Credential{}, err
	}
	if to.Holds != nil && to.Holds(c) {
		return c, nil
	}
	if err := d.record(ctx, Event{
		Time: d.Clock.Now().UTC(), Action: "handout", User: user, UserID: c.UserID, Key: c.KeyID,
		Due: c.Expiration, Caller: to.Caller, Addr: to.Addr, Result: "ok",
	}); err != nil {
		return Credential{}, err
	}
	return c, nil
}

// peek returns what Give would, if nothing has to be saved. It may be a second
// old, which is good enough to tell who holds it that there is nothing new: it
// was promised for as long as it says.
func (d *Dispenser) peek(ctx context.Context, user string) (Credential, bool) {
	if d.Peek == nil {
		return Credential{}, false
	}
	e, err := d.Peek(ctx, user)
	if err != nil || !d.Clock.Settle(ctx) {
		return Credential{}, false
	}
	o, ok := plan.Serve(e.Record, d.policy(user), d.Clock.Now().UTC())
	return credentialOf(e, o), ok && !o.Roll && !e.Secrets[o.KeyID].IsZero()
}

func (d *Dispenser) policy(user string) plan.Policy {
	if d.Policy == nil {
		return plan.Policy{}
	}
	return d.Policy(user)
}

func credentialOf(e Entry, o plan.Offer) Credential {
	rec := e.Record
	return Credential{
		User: rec.User, UserID: rec.UserID, KeyID: o.KeyID, Secret: e.Secrets[o.KeyID], Created: o.Created, Expiration: o.Expiration,
	}
}

// record records the hand-out e. Its promise is saved.
func (d *Dispenser) record(ctx context.Context, e Event) error {
	if d.Late != nil {
		return d.Late.Handout(ctx, e)
	}
	if d.Audit != nil {
		if err := d.Audit.Append(ctx, e); err != nil {
			return fmt.Errorf("auditing the hand-out: %w", err)
		}
	}
	if d.Handouts != nil {
		if err := d.Handouts.RecordHandout(ctx, e.Caller, e.User, e.Key, e.Addr, e.Time); err != nil {
			return fmt.Errorf("noting the hand-out: %w", err)
		}
	}
	return nil
}

func (d *Dispenser) offer(ctx context.Context, user string) (Credential, error) {
	policy := d.policy(user)
	for {
		e, err := d.load(ctx, user, d.Clock.Now().UTC())
		sure := d.Clock.Settle(ctx) // after the store, whose answer may have told the time
		now := d.Clock.Now().UTC()
		if errors.Is(err, ErrNotFound) {
			d.last.Delete(user)
		}
		if err != nil {
			if c, ok := d.remembered(user, now); ok {
				return c, nil
			}
			return Credential{}, fmt.Errorf("loading %q: %w", user, err)
		}
		o, ok := plan.Serve(e.Record, policy, now)
		if !ok || e.Secrets[o.KeyID].IsZero() {
			return Credential{}, fmt.Errorf("user %q: %w", user, ErrNoKeyReady)
		}
		c := credentialOf(e, o)
		if !o.Roll {
			d.remember(c)
			return c, nil
		}
		old := e.Record.Key(o.KeyID).Promise.Truncate(time.Second)
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
			d.remember(c)
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

// remember keeps c, whose promise is saved.
func (d *Dispenser) remember(c Credential) {
	if last, ok := d.last.Load(c.User); !ok || last != c {
		d.last.Store(c.User, c)
	}
}

// remembered returns what was handed out last if it was promised for longer
// than now. A promise that was given holds whether or not the store can be
// read: nothing is deactivated without saving there first.
func (d *Dispenser) remembered(user string, now time.Time) (Credential, bool) {
	if c, ok := d.last.Load(user); ok && c.(Credential).Expiration.After(now.Add(time.Second)) {
		return c.(Credential), true
	}
	return Credential{}, false
}

// Promised returns for how many users something can be handed out from memory.
func (d *Dispenser) Promised() (n int) {
	now := d.Clock.Now().UTC()
	d.last.Range(func(user, _ any) bool {
		if _, ok := d.remembered(user.(string), now); ok {
			n++
		}
		return true
	})
	return n
}

// errHangs: the store did not answer in time a moment ago.
var errHangs = errors.New("the store does not answer")

// load loads the user's entry. It waits for a store that hangs as long as the
// request does, but for a moment only if there is something to hand out from
// memory.
func (d *Dispenser) load(ctx context.Context, user string, now time.Time) (Entry, error) {
	if _, ok := d.remembered(user, now); !ok {
		return d.Store.Load(ctx, user)
	}
	if until := d.hangs.Load(); until != nil && time.Now().Before(*until) { //nolint:forbidigo // a pause, not a deadline
		return Entry{}, errHangs
	}
	attempt, cancel := d.patience.bound(ctx)
	defer cancel()
	e, err := d.Store.Load(attempt, user)
	if errors.Is(attempt.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		until := time.Now().Add(hangPause) //nolint:forbidigo // a pause, not a deadline
		d.hangs.Store(&until)
	}
	return e, err
}
