package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// ExistingKeys says what enrolment does with a user that has keys already.
type ExistingKeys string

// The rules for keys that were there before keyrot.
const (
	Refuse ExistingKeys = "refuse" // do not manage the user; say which keys stand in the way
	Retire ExistingKeys = "retire" // keep them until they are idle, then treat them as superseded
)

// Rotator moves the keys of all selected users. Its exported fields are its
// dependencies and must not be changed once a method was called. It is safe
// for concurrent use, and any number of Rotators in any number of processes
// may share one Store.
type Rotator struct {
	IAM        IAM
	Store      Store
	Audit      Audit                                      // nil: nothing is recorded
	Handouts   Handouts                                   // nil: nobody is known to hold a key
	Publishers []Publisher                                // all required before promotion
	Optional   []Publisher                                // get the pair once it serves; retried until they confirm
	Policy     func(user string) plan.Policy              // nil: the default policy for all
	Select     func(ctx context.Context) ([]User, error)  // who is managed; fails closed, but see ErrNoUser
	Existing   ExistingKeys                               // default Refuse
	Log        *slog.Logger                               // nil: discarded
	Clock      *Clock                                     // AWS's time, which everything is judged by
	Observe    func(user string, step plan.Step, e error) // nil; called after every step, for metrics and notices
	Beat       func()                                     // nil; called at every tick of Run that got through
	Owner      string                                     // names this process in leases and audit; default host and pid
	Workers    int                                        // users acted on at once; default 8
	Tick       time.Duration                              // how often Run looks at the due index; default 1 s
	Reselect   time.Duration                              // how often Run reads the selection; default 1 min
	Reconcile  time.Duration                              // every user is looked at this often at least; default 1 h
	ProofGap   time.Duration                              // between the calls of one proof; negative: none; default 500 ms
	Proofs     int                                        // calls in a row that make a proof; default 3
	Dry        bool                                       // operators' methods check what they are asked for and change nothing

	once      sync.Once
	outlets   sync.Map                  // name → *outlet
	started   atomic.Pointer[time.Time] // since when Run acts; nil: it does not
	elsewhere sync.Map                  // users that another process was told to act on
	rested    sync.Map                  // user → rest: those that this process failed to look at
	selected  selection
}

// Options of one pass.
type Options struct {
	Users  []string // only these; nil: all selected
	Force  bool     // rotate now, not at the next slot
	DryRun bool     // say what would be done, change nothing
	// Unattended: selected names that IAM does not know are told and passed
	// over. Otherwise they are an error before anything is done.
	Unattended bool
	// Patience is how long the pass waits for a key to settle, so that a
	// rotation that it began is completed by it. 0: not at all.
	Patience time.Duration
}

// Done is one step that was carried out, or attempted.
type Done struct {
	Step plan.Step
	At   time.Time
	Err  error
}

// UserReport is what a pass did for one user.
type UserReport struct {
	User  string
	Steps []Done
	Wait  plan.Step // why it ended and when to look again
	Err   error     // what stopped it; nil also if there was nothing to do
}

// Report is what a pass did, ordered by user.
type Report struct{ Users []UserReport }

// Failed returns the users whose pass ended in an error.
func (r Report) Failed() []UserReport {
	return slices.DeleteFunc(slices.Clone(r.Users), func(u UserReport) bool { return u.Err == nil })
}

// Changed reports whether any step was taken.
func (r Report) Changed() bool {
	return slices.ContainsFunc(r.Users, func(u UserReport) bool { return len(u.Steps) > 0 })
}

func (r *Rotator) init() {
	r.once.Do(func() {
		if r.Log == nil {
			r.Log = slog.New(slog.DiscardHandler)
		}
		if r.Owner == "" {
			host, _ := os.Hostname()
			r.Owner = fmt.Sprintf("%s/%d", host, os.Getpid())
		}
		if r.Workers <= 0 {
			r.Workers = 8
		}
		if r.Tick <= 0 {
			r.Tick = time.Second
		}
		if r.Reselect <= 0 {
			r.Reselect = time.Minute
		}
		if r.Reconcile <= 0 {
			r.Reconcile = time.Hour
		}
		switch {
		case r.ProofGap == 0:
			r.ProofGap = 500 * time.Millisecond
		case r.ProofGap < 0:
			r.ProofGap = 0
		}
		if r.Proofs <= 0 {
			r.Proofs = 3
		}
	})
}

// now is AWS's time as records hold it: in UTC and without a monotonic reading,
// so that a saved time equals the one it was saved from.
func (r *Rotator) now() time.Time { return r.Clock.Now().UTC().Round(0) }

func (r *Rotator) policy(user string) plan.Policy {
	var p plan.Policy
	if r.Policy != nil {
		p = r.Policy(user)
	}
	p = p.WithDefaults()
	for i, o := range slices.Concat(r.Publishers, r.Optional) {
		t := o.Traits()
		p.Outlets = append(p.Outlets, plan.Outlet{Name: o.Name(), Required: i < len(r.Publishers), Expires: t.Expires, Compares: t.Compares})
	}
	if at := r.started.Load(); at != nil {
		p.Started = *at
	}
	switch { // finish what is under way, start nothing
	case !r.selected.known():
		p.Frozen = plan.NotRead
	case !r.selected.includes(user):
		p.Frozen = plan.NoUserListed
	}
	return p
}

// RunOnce makes one pass over the selected users: it enrols the new ones and
// does what is due. It returns an error if the selection could not be read or
// an option names a user outside it; what went wrong for single users is in
// the report, and never stops the others.
func (r *Rotator) RunOnce(ctx context.Context, o Options) (Report, error) {
	r.init()
	users, err := r.choose(ctx, o.Users)
	if o.Unattended && errors.Is(err, ErrNoUser) && len(users) > 0 {
		r.Log.Warn("a selected user does not exist", "err", err)
		err = nil // one deleted user must not stop the rotation of the others
	}
	if err != nil {
		return Report{}, err
	}
	stored, err := r.Store.List(ctx) // without secrets: most users are not due
	if err != nil {
		return Report{}, fmt.Errorf("listing the store: %w", err)
	}
	known := make(map[string]Entry, len(stored))
	for _, e := range stored {
		known[e.Record.User] = e
		// Who is no longer selected still has steps under way to be finished.
		if len(o.Users) == 0 && !r.selected.includes(e.Record.User) {
			users = append(users, User{Name: e.Record.User, ID: e.Record.UserID, ARN: e.Record.ARN})
		}
	}
	reports := make([]UserReport, len(users))
	r.each(ctx, len(users), func(i int, free func()) {
		reports[i] = r.visit(ctx, users[i], known[users[i].Name], o, free)
	})
	return Report{Users: reports}, nil
}

// choose reads the selection and narrows it to names. With ErrNoUser, for names
// that IAM does not know, it returns the others.
func (r *Rotator) choose(ctx context.Context, names []string) ([]User, error) {
	all, err := r.Select(ctx)
	if err != nil && (len(all) == 0 || !errors.Is(err, ErrNoUser)) {
		return nil, fmt.Errorf("reading the selection of users: %w", err)
	}
	if err != nil {
		err = fmt.Errorf("reading the selection of users: %w", err)
	}
	if len(all) == 0 {
		return nil, ErrNoUsers
	}
	if !r.Clock.Settle(ctx) { // the answer that brought the users told it, as a rule
		return nil, ErrNoTime
	}
	r.selected.set(all)
	slices.SortFunc(all, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	if len(names) == 0 || err != nil {
		return all, err
	}
	var some []User
	for _, n := range names {
		i := slices.IndexFunc(all, func(u User) bool { return u.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("user %q: %w", n, ErrNotSelected)
		}
		some = append(some, all[i])
	}
	return some, nil
}

// visit enrols the user if need be and makes a pass if something is due. known
// is the user's entry without secrets, if there is one.
func (r *Rotator) visit(ctx context.Context, u User, known Entry, o Options, free func()) UserReport {
	if ctx.Err() != nil {
		return UserReport{User: u.Name, Err: ctx.Err()}
	}
	if known.Version != 0 && !o.Force && known.Due.After(r.now()) {
		return UserReport{User: u.Name, Wait: plan.Step{Action: plan.Wait, Reason: plan.NotDue, Wake: known.Due}}
	}
	if known.Version != 0 && !o.Force && !o.DryRun {
		return r.pass(ctx, u.Name, o.Patience, free) // which loads the entry itself
	}
	e, err := r.enrol(ctx, u, o.DryRun)
	if err != nil {
		return UserReport{User: u.Name, Err: err}
	}
	if o.Force {
		if e, _, err = r.order(ctx, e, plan.Order{Kind: plan.Force, At: r.now(), By: r.Owner}, o.DryRun); err != nil {
			return UserReport{User: u.Name, Err: err}
		}
	}
	if o.DryRun {
		return r.rehearse(ctx, e)
	}
	return r.pass(ctx, u.Name, o.Patience, free)
}

// each runs f for 0..n-1 on at most Workers goroutines and waits for all. One
// that calls free no longer counts.
func (r *Rotator) each(ctx context.Context, n int, f func(i int, free func())) {
	sem := make(chan struct{}, r.Workers)
	var wg sync.WaitGroup
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		sem <- struct{}{}
		wg.Go(func() {
			free := sync.OnceFunc(func() { <-sem })
			defer free()
			f(i, free)
		})
	}
	wg.Wait()
}

// selection remembers the last selection that could be read.
type selection struct {
	mu    sync.RWMutex
	users map[string]User // nil: never read
}

func (s *selection) set(us []User) {
	m := make(map[string]User, len(us))
	for _, u := range us {
		m[u.Name] = u
	}
	s.mu.Lock()
	s.users = m
	s.mu.Unlock()
}

// known reports whether a selection could be read yet.
func (s *selection) known() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.users != nil
}

func (s *selection) includes(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.users[name]
	return ok
}
