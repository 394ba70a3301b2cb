package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Loss is a user with keys that only IAM knows: the store is an older copy, or
// has never heard of the user.
type Loss struct {
	User User       // by the name that the store has, if it knows the user
	Keys []plan.Key // all that IAM lists, with their last use if IAM tells it
	// Lost are those that keyrot made, as they are newer than what the store
	// knows. An order replaces them; who knows better changes them before.
	Lost []string
	// Unclear are those that keyrot or somebody else made: the store does not
	// know the user, or a daemon enrolled it before anybody was asked. Nothing
	// is done to them unless they are added to Lost.
	Unclear []string
	New     bool // the store does not know the user
	// Bereft: what the store would hand out is not listed as active, or there is
	// nothing to hand out and no room. An order finds another key, or makes one.
	Bereft bool
	// Full: a new key needs the place of one of them.
	Full bool
	Err  error    // why the user could not be looked at; nothing else is known then
	held []string // those that the record holds as keyrot's
}

// ErrLastKey: the key is the last one that works.
var ErrLastKey = errors.New("it is the only active key of its user")

// Losses finds the selected users, or those named, whose keys were lost, and
// those for whom the store has no key that works. A user that cannot be looked at
// hides no other.
func (r *Rotator) Losses(ctx context.Context, names []string) ([]Loss, error) {
	r.init()
	users, err := r.choose(ctx, names)
	if len(names) == 0 {
		err = r.known(users, err)
	}
	if err != nil {
		return nil, err
	}
	stored, err := r.Store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the store: %w", err)
	}
	var all []Loss
	for _, u := range users {
		l, err := r.loss(ctx, u, stored)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			all = append(all, Loss{User: u, Err: err})
		case l.any():
			all = append(all, l)
		}
	}
	return all, nil
}

func (r *Rotator) loss(ctx context.Context, u User, stored []Entry) (Loss, error) {
	l := Loss{User: u}
	var err error
	if l.Keys, err = r.IAM.Keys(ctx, u.Name); err != nil {
		return l, fmt.Errorf("listing access keys of %q: %w", u.Name, err)
	}
	e, err := r.Store.Load(ctx, u.Name)
	if errors.Is(err, ErrNotFound) {
		e, err = r.formerly(ctx, &l, stored)
	}
	if err != nil {
		return l, fmt.Errorf("loading %q: %w", u.Name, err)
	}
	if !l.New && u.ID != "" && !e.Record.Is(u.ID) {
		return l, nil // somebody else by the name of one that keyrot manages
	}
	w := plan.World{Record: e.Record, Keys: l.Keys}
	for _, k := range l.Keys {
		held := e.Record.Key(k.ID)
		switch {
		case l.New, held != nil && held.Stage == plan.Retiring:
			l.Unclear = append(l.Unclear, k.ID)
		case held != nil:
			l.held = append(l.held, k.ID)
		case w.Lost(k):
			l.Lost = append(l.Lost, k.ID)
		}
	}
	next, cur := e.Record.In(plan.Pending), e.Record.In(plan.Current)
	_, serves := plan.Serve(e.Record, r.policy(u.Name, e.Record.UserID), r.now())
	l.Full = len(l.Keys) >= plan.Quota && (next == nil || !slices.Contains(l.held, next.ID))
	l.Bereft = !l.New && (serves && !l.lists(cur.ID, plan.Active) || !serves && l.Full)
	if !l.any() {
		return l, nil
	}
	for i := range l.Keys {
		used, err := r.IAM.LastUsed(ctx, l.Keys[i].ID)
		l.Keys[i].Usage.LastUsed, l.Keys[i].Usage.Known = used, err == nil // it only helps to choose
	}
	l.Full = l.Full && !r.serves(ctx, u, e)
	return l, nil
}

func (l Loss) any() bool { return len(l.Lost)+len(l.Unclear) > 0 || l.Bereft }

func (l Loss) lists(id string, s plan.Status) bool {
	return slices.ContainsFunc(l.Keys, func(k plan.Key) bool { return k.ID == id && k.Status == s })
}

// formerly finds the entry of a user that the store does not know by its name:
// it was renamed in IAM, or is new to the store.
func (r *Rotator) formerly(ctx context.Context, l *Loss, stored []Entry) (Entry, error) {
	u, err := r.IAM.User(ctx, l.User.Name)
	if err != nil {
		return Entry{}, fmt.Errorf("looking up the user: %w", err)
	}
	l.User = u
	as := managedAs(u, l.Keys, pointers(stored))
	if l.New = as == ""; l.New {
		return Entry{}, nil
	}
	l.User.Name = as
	return r.Store.Load(ctx, as)
}

// serves reports whether the user has a key that can be handed out and that AWS
// accepts.
func (r *Rotator) serves(ctx context.Context, u User, e Entry) bool {
	o, ok := plan.Serve(e.Record, r.policy(u.Name, e.Record.UserID), r.now())
	return ok && r.IAM.Verify(ctx, User{Name: u.Name, ID: e.Record.UserID, ARN: e.Record.ARN}, o.KeyID, e.Secrets[o.KeyID]) == nil
}

// Idle returns the key that can make room without harm, because it is inactive
// and keyrot made it; "" if there is none.
func (l Loss) Idle() string {
	for _, k := range l.Keys {
		if k.Status != plan.Active && (slices.Contains(l.Lost, k.ID) || slices.Contains(l.held, k.ID)) {
			return k.ID
		}
	}
	return ""
}

// Recover orders the keys in l.Lost to be replaced; [Rotator.Obey] sees it
// done. If there is no room for a new key, the one named room leaves, once
// nothing can be promised for it any more: ErrLastKey if no other is active,
// ErrNoKey if the user has no such key. A user that is new to the store is
// enrolled; its other keys are kept until they are idle.
func (r *Rotator) Recover(ctx context.Context, l Loss, room, by string) (plan.Order, error) {
	r.init()
	user := l.User.Name
	o := plan.Order{Kind: plan.Recover, KeyID: room, At: r.now(), By: by, Lost: l.Lost}
	if room != "" {
		i := slices.IndexFunc(l.Keys, func(k plan.Key) bool { return k.ID == room })
		switch {
		case i < 0:
			return o, fmt.Errorf("user %q, key %s: %w", user, ShortID(room), ErrNoKey)
		case l.Keys[i].Status == plan.Active && l.active() < 2:
			return o, fmt.Errorf("user %q, key %s: %w", user, ShortID(room), ErrLastKey)
		}
	}
	var e Entry
	var err error
	if l.New {
		e, err = r.admit(ctx, l.User, l.Keys, r.Dry)
	} else {
		e, err = r.managed(ctx, user)
	}
	if err != nil || r.Dry {
		return o, err
	}
	_, o, err = r.order(ctx, e, o, false)
	return o, err
}

func (l Loss) active() (n int) {
	for _, k := range l.Keys {
		if k.Status == plan.Active {
			n++
		}
	}
	return n
}
