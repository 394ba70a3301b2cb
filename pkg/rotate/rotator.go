package rotate

import (
	"context"
	"crypto/rand"
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
	Pace       Pace // of the calls that change IAM; nil: as fast as they can be made
	Store      Store
	Roster     *Roster                                    // of Store, for Run: what others know of all users, too; nil: its own
	Audit      Audit                                      // nil: nothing is recorded
	Handouts   Handouts                                   // nil: nobody is known to hold a key
	Publishers []Publisher                                // all required before promotion
	Optional   []Publisher                                // get the pair once it serves; retried until they confirm
	Policy     func(user string) plan.Policy              // nil: the default policy for all
	Select     func(ctx context.Context) ([]User, error)  // who is managed; fails closed, but see ErrNoUser
	Rule       string                                     // what Select goes by; what was kept under another rule is not used
	Settings   Settings                                   // keeps the selection for other processes; nil: it is not kept
	Existing   ExistingKeys                               // default Refuse
	Log        *slog.Logger                               // nil: discarded
	Clock      *Clock                                     // AWS's time, which everything is judged by
	Observe    func(user string, step plan.Step, e error) // nil; called after every step, for metrics and notices
	Target     func(name string, cause error)             // nil; called when a publisher begins to fail for all users; no cause: it works
	Recorded   func(ctx context.Context) error            // nil; called when a pass ends that has recorded something; see Event.More
	Beat       func()                                     // nil; called at every tick of Run that got through
	Owner      string                                     // names this process in leases and audit; default host, pid and chance
	Dead       func() []string                            // nil; owners that are gone for certain and that no other process acts for
	Workers    int                                        // keys made at once, and calls beside for what is urgent; default 8
	Tick       time.Duration                              // how often Run looks at the due index; default 1 s
	Reselect   time.Duration                              // how long a selection is kept; default 1 min, longer if reading it is slow
	Reconcile  time.Duration                              // every user is looked at this often at least; default 1 h
	ProofGap   time.Duration                              // from one call of a proof to the next; negative: none; default 500 ms
	Proofs     int                                        // calls in a row that make a proof; default 3
	Dry        bool                                       // operators' methods check what they are asked for and change nothing

	once      sync.Once
	outlets   sync.Map                  // name → *outlet
	started   atomic.Pointer[time.Time] // since when Run acts; nil: it does not
	elsewhere sync.Map                  // users that another process was told to act on
	rested    sync.Map                  // user → rest: those that this process failed to look at
	refused   sync.Map                  // names of users that cannot be enrolled as they are
	gates     gates
	selected  selection
}

// Options of one pass.
type Options struct {
	Users  []string // only these; nil: all selected
	Force  bool     // rotate now, not at the next slot
	DryRun bool     // show what would be done, without doing it
	// Unattended: selected names that IAM does not know are told and passed
	// over. Otherwise they are an error before anything is done.
	Unattended bool
	// Patience is how long the pass waits for a key to settle, so that a
	// rotation that it began is completed by it. 0: not at all.
	Patience time.Duration
	Progress *Progress // nil; told of every user that is done
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
type Report struct {
	Users []UserReport
	// Stopped says what the pass did not get to before its context ended. "":
	// it looked at everybody.
	Stopped string
	// Missed is how many more users it would have looked at.
	Missed int
}

// Failed returns the users whose pass ended in an error.
func (r Report) Failed() []UserReport {
	return slices.DeleteFunc(slices.Clone(r.Users), func(u UserReport) bool { return u.Err == nil })
}

// NewOwner returns a name for this process that no other process has, for
// [Rotator.Owner]: its host, its id and chance, as in "web-1/4711/K7Q2MZ5XAB".
func NewOwner() string {
	host, _ := os.Hostname()
	// In containers host and process id are the same everywhere.
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:10])
}

func (r *Rotator) init() {
	r.once.Do(func() {
		if r.Log == nil {
			r.Log = slog.New(slog.DiscardHandler)
		}
		if r.Owner == "" {
			r.Owner = NewOwner()
		}
		if r.Workers <= 0 {
			r.Workers = 8
		}
		if r.Roster == nil {
			r.Roster = &Roster{Store: r.Store, Policy: r.schedule, Now: r.now}
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
		r.gates = newGates(r.Workers)
	})
}

// now is AWS's time as records hold it: in UTC and without a monotonic reading,
// so that a saved time equals the one it was saved from.
func (r *Rotator) now() time.Time { return r.Clock.Now().UTC().Round(0) }

// schedule is the user's policy as it is configured.
func (r *Rotator) schedule(user string) (p plan.Policy) {
	if r.Policy != nil {
		p = r.Policy(user)
	}
	return p
}

func (r *Rotator) policy(user, userID string) plan.Policy {
	p := r.schedule(user).WithDefaults()
	p.ProofSpan = time.Duration(r.Proofs-1) * r.ProofGap
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
	case !r.selected.includes(user, userID):
		p.Frozen = plan.NoUserListed
	}
	return p
}

// visit enrols the user if need be and makes a pass if something is due. known
// is the user's entry without secrets, if there is one.
func (r *Rotator) visit(ctx context.Context, u User, known Entry, stored []*Entry, o Options) UserReport {
	if ctx.Err() != nil {
		return UserReport{User: u.Name, Err: ctx.Err()}
	}
	if known.Version != 0 && !o.Force && !r.comesDue(ctx, known.Due, o) {
		return UserReport{User: u.Name, Wait: plan.Step{Action: plan.Wait, Reason: plan.NotDue, Wake: known.Due}}
	}
	if known.Version != 0 && !o.Force && !o.DryRun { // the pass loads the entry itself
		return r.visitKnown(ctx, known, way{patience: o.Patience})
	}
	e, err := r.enrolInTurn(ctx, u, stored, o.DryRun)
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
	return r.visitKnown(ctx, e, way{patience: o.Patience, dueNow: true})
}

// comesDue reports whether due has come. For as much as two clocks may differ, a
// patient pass waits: whoever saved due may have meant now, and the next pass of
// cron's may come an interval later.
func (r *Rotator) comesDue(ctx context.Context, due time.Time, o Options) bool {
	early := due.Sub(r.now())
	if early <= 0 || o.DryRun || early > min(clockSlack, o.Patience) {
		return early <= 0
	}
	t := time.NewTimer(early)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	}
	return !due.After(r.now())
}

// enrolInTurn is enrol for one of many users.
func (r *Rotator) enrolInTurn(ctx context.Context, u User, stored []*Entry, dry bool) (Entry, error) {
	at := r.gates.reads.join(urgency{plan.RankCreate, time.Time{}})
	defer at.leave()
	if err := at.wait(ctx); err != nil {
		return Entry{}, err
	}
	return r.enrol(ctx, u, stored, dry)
}

// visitKnown makes a pass over a user of the store. One that makes a key waits,
// before it takes the lease, until there are few of them.
func (r *Rotator) visitKnown(ctx context.Context, e Entry, w way) UserReport {
	if e.Creates {
		at := r.gates.begin.join(urgency{plan.RankCreate, e.Due})
		w.begun = sync.OnceFunc(at.leave)
		defer w.begun()
		if err := at.wait(ctx); err != nil {
			return UserReport{User: e.Record.User, Err: err}
		}
	}
	return r.pass(ctx, e.Record.User, w)
}

// each runs f for 0..n-1 side by side and waits for all.
func (r *Rotator) each(ctx context.Context, n int, f func(i int)) {
	sem := make(chan struct{}, crowd)
	var wg sync.WaitGroup
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			f(i)
		})
	}
	wg.Wait()
}
