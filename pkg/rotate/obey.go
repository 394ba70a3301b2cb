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

// How an order may stand when Obey returns.
var (
	ErrOrderOpen      = errors.New("the order stands, but is not carried out yet")
	ErrUnpublished    = errors.New("publishers have not confirmed the key")
	ErrOrderPointless = errors.New("the order was dropped: the key is gone, or AWS does not accept it")
)

// Obey makes passes over the user until the order o, or whatever order stands
// if o is zero, is carried out by them or by another process. A burn is carried
// out once AWS was asked and refuses the key. When patience is over the error
// is ErrOrderOpen, with what is known about the key, and the next pass of any
// process goes on with it; ErrOrderPointless if the order could not be carried
// out. Without AWS credentials (ErrNoIdentity) it returns at once. The report
// has all steps that were taken. What fails is reported, but not saved: another
// process may be able to do what this one cannot.
func (r *Rotator) Obey(ctx context.Context, user string, o plan.Order, patience time.Duration) (UserReport, error) {
	return r.passUntil(ctx, user, patience, func(rec plan.Record) (bool, error) { return standing(rec, o) })
}

// Published makes passes over the user until all publishers hold the pair that
// is handed out, or patience is over; then the error is ErrUnpublished. As with
// Obey, what fails is not saved, and other processes go on with it.
func (r *Rotator) Published(ctx context.Context, user string, patience time.Duration) (UserReport, error) {
	rep, err := r.passUntil(ctx, user, patience, func(rec plan.Record) (bool, error) {
		cur := rec.In(plan.Current)
		if cur == nil {
			return true, ErrNoKeyReady
		}
		var missing []string
		for _, o := range r.policy(user, rec.UserID).Outlets {
			if t := rec.Target(o.Name); t == nil || t.KeyID != cur.ID {
				missing = append(missing, o.Name)
			}
		}
		if len(missing) > 0 {
			return true, fmt.Errorf("%w: %s", ErrUnpublished, strings.Join(missing, ", "))
		}
		return false, nil
	})
	return rep, err
}

// passUntil makes an operator's passes until what is waited for is not open any
// more. What open returns as error is part of the result.
func (r *Rotator) passUntil(
	ctx context.Context, user string, patience time.Duration, isOpen func(plan.Record) (bool, error),
) (UserReport, error) {
	r.init()
	all := UserReport{User: user}
	end := r.now().Add(patience)
	for denied := false; ; {
		if !denied { // otherwise another process has to do it
			rep := r.attended(ctx, user, max(0, end.Sub(r.now())))
			all.Steps, all.Wait = append(all.Steps, rep.Steps...), rep.Wait
			if rep.Err != nil || len(rep.Steps) > 0 { // otherwise what failed before still is the reason
				all.Err = rep.Err
			}
			denied = errors.Is(rep.Err, ErrDenied)
		}
		e, err := r.Store.Load(ctx, user)
		if err != nil {
			return all, fmt.Errorf("user %q: %w", user, err)
		}
		open, err := isOpen(e.Record)
		if !open && err == nil && slices.ContainsFunc(all.Steps, func(d Done) bool { return d.Step.Reason == plan.OrderPointless }) {
			err = ErrOrderPointless
		}
		if !open {
			return all, wrapUser(user, err)
		}
		if errors.Is(all.Err, ErrNoIdentity) || !r.now().Before(end) {
			return all, wrapUser(user, errors.Join(ErrOrderOpen, err, all.Err))
		}
		t := time.NewTimer(min(time.Second, max(time.Millisecond, end.Sub(r.now()))))
		select {
		case <-ctx.Done():
			t.Stop()
			return all, ctx.Err()
		case <-t.C:
		}
	}
}

func wrapUser(user string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("user %q: %w", user, err)
}

// standing reports whether the order is open still. If it is a burn, err says
// what is known about the key; if it is not, err says how it failed.
func standing(r plan.Record, o plan.Order) (open bool, err error) {
	k := r.Key(o.KeyID)
	switch o.Kind {
	case plan.Burn:
		if k == nil || !k.Dead.IsZero() {
			return r.Order != nil && r.Order.KeyID == o.KeyID, nil
		}
		return true, burnState(*k)
	case plan.Rollback:
		if open = r.Order != nil && r.Order.Kind == o.Kind; !open && (k == nil || k.Stage != plan.Current) {
			err = ErrOrderPointless
		}
		return open, err
	}
	return r.Order != nil, nil
}

// burnState says how a key is that is to be burned.
func burnState(k plan.Held) error {
	id := ShortID(k.ID)
	switch {
	case k.Deactivated.IsZero():
		return fmt.Errorf("key %s is still active", id)
	case k.Probed.After(k.Burned):
		return fmt.Errorf("key %s was made inactive at %s, but AWS still accepted it at %s", id, stamp(k.Deactivated), stamp(k.Probed))
	}
	return fmt.Errorf("key %s was made inactive at %s, but AWS was not seen to refuse it yet", id, stamp(k.Deactivated))
}

// OpenOrder is an order that is not carried out yet.
type OpenOrder struct {
	plan.Order
	State string // what is known about it; may be empty
}

// OpenOrders returns the orders of a record that are open: burns, whatever was
// ordered after them, and the latest one.
func OpenOrders(r plan.Record) []OpenOrder {
	var open []OpenOrder
	seen := false
	for _, k := range r.Keys {
		latest := r.Order != nil && r.Order.Kind == plan.Burn && r.Order.KeyID == k.ID
		if !latest && (k.Burned.IsZero() || !k.Dead.IsZero()) {
			continue
		}
		o := OpenOrder{Order: plan.Order{Kind: plan.Burn, KeyID: k.ID, At: k.Burned}}
		if latest {
			o.Order, seen = *r.Order, true
		}
		if k.Dead.IsZero() {
			o.State = burnState(k).Error()
		}
		open = append(open, o)
	}
	if r.Order != nil && !seen {
		open = append(open, OpenOrder{Order: *r.Order})
	}
	return open
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// attended makes a pass that an operator waits for: its failures are kept to
// itself.
func (r *Rotator) attended(ctx context.Context, user string, patience time.Duration) UserReport {
	r.init()
	if err := r.timed(ctx, user); err != nil {
		return UserReport{User: user, Err: fmt.Errorf("user %q: %w", user, err)}
	}
	w := way{patience: patience, private: true, turns: r.Clock.corrections()}
	l, err := r.take(ctx, user)
	return r.leased(ctx, user, w, l, err)
}
