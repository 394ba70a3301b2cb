package rotate

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Roster is what one process knows of all users: for the status page, metrics,
// health and the watchdog, which all look again and again. It reads only what
// was saved since it looked last, so that a look costs what has changed and not
// what there is. It is safe for concurrent use; its fields must not change.
type Roster struct {
	Store  Store
	Policy func(user string) plan.Policy
	Now    func() time.Time
	// Age is how old an answer may be; default 1 s. A store that can only be
	// read as a whole is read at most every 30 s, and more often only if it has
	// less than rosterPace users for each second.
	Age time.Duration

	turn   turn // held by whoever touches what follows
	mark   int64
	users  map[string]*Entry
	sorted []*Entry // never changed, only replaced
	at     time.Time
	keep   time.Duration // for how long what was read is current
	err    error
	counts *Overview // at at
}

const (
	rosterPace = 100              // users a second that are read from a costly store
	rosterMost = 30 * time.Second // how old what was read from it may become
)

// State is how a user is, in the order of how much somebody is needed.
type State string

// The states.
const (
	IsBurning State = "burning" // a leaked key is not dead yet
	IsLate    State = "late"    // see plan.Overdue
	IsHeld    State = "held"    // something stands in the way; see plan.Record.Waiting
	IsFailing State = "failing" // the next step has failed and will be tried again
	IsPaused  State = "paused"  // by an operator
	IsOK      State = "ok"
)

// StateOf says how the user of the record is.
func StateOf(r plan.Record, p plan.Policy, now time.Time) State {
	_, late := plan.Overdue(r, p, now)
	switch {
	case slices.ContainsFunc(OpenOrders(r), func(o OpenOrder) bool { return o.Kind == plan.Burn }):
		return IsBurning
	case r.Paused(now):
		return IsPaused
	case late:
		return IsLate
	case r.Waiting != "":
		return IsHeld
	case r.Failures > 0:
		return IsFailing
	}
	return IsOK
}

// Overview counts users.
type Overview struct {
	Users   int           // managed
	Serving int           // with a key that can be handed out
	Overdue int           // late and not paused, whatever else they are
	States  map[State]int // each user in one
	Next    time.Time     // the earliest time at which a user is due; zero: nobody is
	Every   time.Duration // the mean interval of their schedules: see plan.MeanInterval
}

// Filter chooses users. The zero value chooses all.
type Filter struct {
	Text  string // in the name, in any case
	State State
}

// UserPage is a part of the users that a filter chooses, ordered by name.
type UserPage struct {
	Entries []*Entry // to be read only: others have the same
	Matches int      // how many users the filter chooses
	Users   int      // how many there are
	More    bool     // users follow the last one
}

// Overview counts the users.
func (r *Roster) Overview(ctx context.Context) (Overview, error) {
	if err := r.look(ctx); err != nil {
		return Overview{}, err
	}
	defer r.turn.free()
	if r.counts == nil {
		r.counts = r.count()
	}
	return *r.counts, r.err
}

func (r *Roster) count() *Overview {
	o := &Overview{Users: len(r.sorted), States: make(map[State]int)}
	every := make([]time.Duration, len(r.sorted))
	for i, e := range r.sorted {
		p := r.Policy(e.Record.User)
		every[i] = p.WithDefaults().RotateEvery
		if _, ok := plan.Serve(e.Record, p, r.at); ok {
			o.Serving++
		}
		if _, late := plan.Overdue(e.Record, p, r.at); late && !e.Record.Paused(r.at) {
			o.Overdue++
		}
		o.States[StateOf(e.Record, p, r.at)]++
		if o.Next.IsZero() || e.Due.Before(o.Next) {
			o.Next = e.Due
		}
	}
	o.Every = plan.MeanInterval(every)
	return o
}

// All returns all users by name, and when they were looked at. They are to be
// read only: others have the same.
func (r *Roster) All(ctx context.Context) ([]*Entry, time.Time, error) {
	if err := r.look(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer r.turn.free()
	return r.sorted, r.at, r.err
}

// Page returns up to limit of the users that f chooses whose name is after
// after.
func (r *Roster) Page(ctx context.Context, f Filter, after string, limit int) (UserPage, error) {
	all, now, err := r.All(ctx)
	p := UserPage{Users: len(all)}
	text := strings.ToLower(f.Text)
	for _, e := range all {
		user := e.Record.User
		if !strings.Contains(strings.ToLower(user), text) ||
			f.State != "" && StateOf(e.Record, r.Policy(user), now) != f.State {
			continue
		}
		p.Matches++
		switch {
		case user <= after && after != "":
		case len(p.Entries) < limit:
			p.Entries = append(p.Entries, e)
		default:
			p.More = true
		}
	}
	return p, err
}

// LateUser is a user whose rotation is late.
type LateUser struct {
	*Entry
	Since time.Time
}

// Latest returns up to limit of the users that are late and not paused, the one
// that has been for the longest time first.
func (r *Roster) Latest(ctx context.Context, limit int) ([]LateUser, error) {
	all, now, err := r.All(ctx)
	var late []LateUser
	for _, e := range all {
		since, is := plan.Overdue(e.Record, r.Policy(e.Record.User), now)
		if is && !e.Record.Paused(now) {
			late = append(late, LateUser{e, since})
		}
	}
	slices.SortStableFunc(late, func(a, b LateUser) int { return a.Since.Compare(b.Since) })
	return late[:min(limit, len(late))], err
}

// look brings what is known up to date and leaves with the turn. An error is
// that of ctx; the store's is in r.err.
func (r *Roster) look(ctx context.Context) error {
	if err := r.turn.take(ctx); err != nil {
		return err
	}
	now := r.Now()
	if age := now.Sub(r.at); !r.at.IsZero() && age >= 0 && age < r.keep {
		return nil
	}
	c, err := r.Store.Changes(ctx, r.mark)
	if err != nil && ctx.Err() != nil {
		r.turn.free() // the caller has left: that says nothing about the store
		return err
	}
	r.at, r.err, r.keep, r.counts = now, err, cmp.Or(r.Age, time.Second), nil
	if err != nil {
		return nil
	}
	if c.Costly {
		r.keep = max(r.keep, min(rosterMost, time.Duration(len(c.Entries))*time.Second/rosterPace))
	}
	r.apply(c)
	return nil
}

func (r *Roster) apply(c Changes) {
	r.mark = c.Mark
	if c.Whole || r.users == nil {
		r.users = make(map[string]*Entry, len(c.Entries))
	} else if len(c.Entries) == 0 {
		return
	}
	known := len(r.users)
	for _, e := range c.Entries {
		r.users[e.Record.User] = &e
	}
	var sorted []*Entry
	if !c.Whole && len(r.users) == known { // the same users: nothing to sort
		sorted = slices.Clone(r.sorted)
		for i, e := range sorted {
			sorted[i] = r.users[e.Record.User]
		}
	} else {
		sorted = make([]*Entry, 0, len(r.users))
		for _, e := range r.users {
			sorted = append(sorted, e)
		}
		slices.SortFunc(sorted, func(a, b *Entry) int { return strings.Compare(a.Record.User, b.Record.User) })
	}
	r.sorted = sorted
}

// turn is a mutex that one can stop waiting for.
type turn struct {
	once sync.Once
	held chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.held = make(chan struct{}, 1) })
	select {
	case t.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) free() { <-t.held }
