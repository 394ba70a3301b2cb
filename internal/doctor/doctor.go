// Package doctor looks for what would keep keyrot from keeping its promises:
// permissions, clocks, foreign keys, schedules, leaks that rotation cannot
// stop. It changes nothing that exists: where only a real call shows whether
// it is allowed, the call names a key that does not exist.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Status of one check.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // it works, but something is not as it should be
	Fail Status = "fail" // keyrot cannot keep its promises
)

// Finding is the result of one check.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

// Patient is what is examined. Functions that are nil are not examined.
type Patient struct {
	IAM    rotate.IAM
	Select func(context.Context) ([]rotate.User, error)
	// Unmatched returns the settings that match none of the users that Select
	// found last.
	Unmatched func() []string
	Existing  rotate.ExistingKeys
	Policy    func(user string) plan.Policy
	Tick      time.Duration
	Refresh   time.Duration                                                // how often the slowest consumer asks for its key; 0: unknown
	Clock     *rotate.Clock                                                // AWS's time
	Now       func() time.Time                                             // this machine's
	Entries   func(context.Context) ([]rotate.Entry, error)                // what the store holds
	Table     func(context.Context) Table                                  // the DynamoDB table, if it is the store
	Mail      func(context.Context) (text string, err error)               // whether mail can be sent
	Callers   func(context.Context) []Caller                               // without an API key
	Capacity  func(users []string) plan.Capacity                           // whether they can be rotated as often as they should be
	Simulate  func(ctx context.Context, u rotate.User) (Simulation, error) // nil: not available
	Parts     []Part                                                       // what the daemon opens
}

// Part is a part of the daemon that can be tried before it is started.
type Part struct {
	Name string
	Fix  string
	Try  func(ctx context.Context, users []string) (text string, err error) // text: what works
}

// Table is how a DynamoDB table is set up.
type Table struct {
	Name    string
	Global  error // it has replicas
	TTL     bool
	Backups bool
	Err     error // not all of it is known
}

// Caller tells whether those whom the server accepts without an API key by one
// entry of server.identities could be recognised.
type Caller struct {
	Name string
	Text string
	Err  error
}

// Simulation is what IAM's policy simulator says about a managed user and
// about keyrot itself.
type Simulation struct {
	Denied        []string // actions on the user that keyrot's own identity is denied
	SessionsGuard bool     // a request with aws:TokenIssueTime is denied to the user
}

// sample is how many users are examined by calls.
const sample = 3

// tried says how many of the users were examined.
func tried(users []rotate.User) string {
	if len(users) <= sample {
		return ""
	}
	return fmt.Sprintf("; %d of %d users were tried, the others by none of these calls", sample, len(users))
}

// noKey is the id of a key that does not exist.
const noKey = "AKIAKEYROTDOCTOR0000"

// Examine makes all checks, in the order a newcomer would trip over them.
func Examine(ctx context.Context, p Patient) []Finding {
	var all []Finding
	add := func(check string, s Status, fix, format string, args ...any) {
		all = append(all, Finding{Check: check, Status: s, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	p.schedule(add)
	users, err := p.Select(ctx)
	switch {
	case errors.Is(err, rotate.ErrNoUsers), err == nil && len(users) == 0:
		add("selection", Fail, "set users.names, users.path_prefix or users.tag", "no user is selected: nobody is rotated")
	case errors.Is(err, rotate.ErrNoUser):
		add("selection", Fail, "check users.names and the AWS account", "%v", err)
	case err != nil:
		add("selection", Fail, "grant iam:ListUsers and iam:GetAccountAuthorizationDetails, or name the users", "it cannot be read: %v", err)
	default:
		add("selection", OK, "", "%d users are selected", len(users))
		if p.Unmatched != nil {
			for _, entry := range p.Unmatched() {
				add("selection", Warn, "correct the name, or remove the entry", "%s", entry)
			}
		}
		p.capacity(users, add)
		p.clock(add)
		p.keys(ctx, users, add)
		p.permissions(ctx, users, add)
		p.sessions(ctx, users, add)
	}
	p.parts(ctx, users, add)
	p.table(ctx, add)
	p.overdue(ctx, add)
	p.mail(ctx, add)
	p.callers(ctx, add)
	return all
}

// Doubt is an error that need not be one: a [Part] that fails with it is a warning.
type Doubt struct{ Err error }

// Error implements error.
func (d Doubt) Error() string { return d.Err.Error() }

// parts tries what the daemon opens when it starts and uses later.
func (p Patient) parts(ctx context.Context, users []rotate.User, add adder) {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	for _, part := range p.Parts {
		text, err := part.Try(ctx, names)
		if err == nil {
			add(part.Name, OK, "", "%s", text)
			continue
		}
		status := Fail
		if _, ok := errors.AsType[Doubt](err); ok {
			status = Warn
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			add(part.Name, status, part.Fix, "%s", line)
		}
	}
}

type adder func(check string, s Status, fix, format string, args ...any)

func (p Patient) schedule(add adder) {
	pol := p.Policy("").WithDefaults()
	if err := pol.Validate(p.Tick); err != nil {
		add("schedule", Fail, `"keyrot plan" draws the timeline of a schedule`, "it cannot be kept: %s",
			strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	add("schedule", OK, "", "rotate every %s, deactivate after %s, delete after %s", pol.RotateEvery, pol.DeactivateAfter, pol.DeleteAfter)
	left := pol.Overlap() - pol.Grace - pol.Settle - 2*p.Tick
	switch {
	case p.Refresh == 0:
		add("consumers", Warn, "set consumer_refresh, or let every consumer ask through credential_process or the agent",
			"how often consumers ask is not declared; they must ask at least every %s", left.Round(time.Second))
	case p.Refresh > left:
		add("consumers", Fail, "raise deactivate_after, or let consumers ask more often",
			"consumers that ask every %s can hold a key longer than it works: it is safe up to %s", p.Refresh, left.Round(time.Second))
	default:
		add("consumers", OK, "", "asking every %s is often enough (up to %s is)", p.Refresh, left.Round(time.Second))
	}
}

// capacity looks whether IAM and the workers allow as many rotations as the
// schedules ask for.
func (p Patient) capacity(users []rotate.User, add adder) {
	if p.Capacity == nil {
		return
	}
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	c := p.Capacity(names)
	if !c.Feasible {
		add("capacity", Fail, c.Remedy(), "%s", c.Complaint())
		return
	}
	add("capacity", OK, "", "%.2g rotations per second for %d users; %.2g can be relied on (%s)", c.Needed, c.Users, c.Allowed, c.Scarce)
}

func (p Patient) clock(add adder) {
	if !p.Clock.Known() {
		add("clock", Warn, "", "AWS has not told its time")
		return
	}
	if off := p.Clock.Now().Sub(p.Now()); off.Abs() > 2*time.Second {
		add("clock", Warn, "let this machine follow a time server",
			"AWS's clock is %s away from this machine's; keyrot goes by AWS's, but consumers here may not", off.Round(time.Second))
		return
	}
	add("clock", OK, "", "this machine agrees with AWS to within 2 s")
}

// permissions asks for changes to a key that does not exist: IAM answers
// AccessDenied before it looks, NoSuchEntity after.
func (p Patient) permissions(ctx context.Context, users []rotate.User, add adder) {
	for _, u := range users[:min(sample, len(users))] {
		denied := []string{}
		try := func(action string, err error) {
			if errors.Is(err, rotate.ErrDenied) {
				denied = append(denied, action)
			}
		}
		_, err := p.IAM.User(ctx, u.Name)
		try("iam:GetUser", err)
		try("iam:UpdateAccessKey", p.IAM.SetStatus(ctx, u.Name, noKey, plan.Inactive))
		try("iam:DeleteAccessKey", p.IAM.Delete(ctx, u.Name, noKey))
		create := "iam:CreateAccessKey is not tried"
		if p.Simulate != nil {
			if sim, err := p.Simulate(ctx, u); err == nil {
				denied = append(denied, sim.Denied...)
				create = "iam:CreateAccessKey included"
			}
		}
		if len(denied) > 0 {
			add("permissions", Fail, "grant these to keyrot's own identity on the user's ARN", "on user %s keyrot is denied %s%s", u.Name,
				strings.Join(denied, ", "), tried(users))
			continue
		}
		add("permissions", OK, "", "keyrot may change the keys of user %s (%s%s)", u.Name, create, tried(users))
	}
}

// sessions looks for the guard against session tokens, which outlive the key
// they were made with by up to 36 hours.
func (p Patient) sessions(ctx context.Context, users []rotate.User, add adder) {
	const fix = `deny everything to the user if {"Null":{"aws:TokenIssueTime":"false"}}; see docs/limits.md`
	if p.Simulate == nil {
		return
	}
	for _, u := range users[:min(sample, len(users))] {
		sim, err := p.Simulate(ctx, u)
		switch {
		case err != nil:
			add("session guard", Warn, fix, "cannot tell whether sessions of user %s are denied: %v", u.Name, err)
			return
		case !sim.SessionsGuard:
			add("session guard", Warn, fix,
				"user %s may use sts:GetSessionToken: such a session survives the rotation by up to 36 hours%s", u.Name, tried(users))
		default:
			add("session guard", OK, "", "sessions of user %s are denied%s", u.Name, tried(users))
		}
	}
}

// table looks for what a table loses when it is restored, and for replicas.
func (p Patient) table(ctx context.Context, add adder) {
	if p.Table == nil {
		return
	}
	t := p.Table(ctx)
	switch {
	case t.Global != nil:
		add("table", Fail, "delete its replicas, or use a table without any", "%v", t.Global)
	case t.Err != nil:
		add("table", Warn, "grant dynamodb:DescribeTable, DescribeTimeToLive and DescribeContinuousBackups", "%v", t.Err)
	case t.TTL && t.Backups:
		add("table", OK, "", "%s has no replicas, deletes expired items and has point-in-time backups", t.Name)
	}
	if !t.TTL && t.Err == nil {
		add("table", Warn, "aws dynamodb update-time-to-live --table-name "+t.Name+
			" --time-to-live-specification Enabled=true,AttributeName=expires",
			"%s keeps expired items for ever: time to live is off, as in every restored table", t.Name)
	}
	if !t.Backups && t.Err == nil {
		add("table", Warn, "aws dynamodb update-continuous-backups --table-name "+t.Name+
			" --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
			"%s has no point-in-time backups", t.Name)
	}
}

func (p Patient) overdue(ctx context.Context, add adder) {
	if p.Entries == nil {
		return
	}
	entries, err := p.Entries(ctx)
	if err != nil {
		return // told by keys
	}
	now, late := p.Clock.Now(), 0
	for _, e := range entries {
		since, overdue := plan.Overdue(e.Record, p.Policy(e.Record.User), now)
		if !overdue || e.Record.Paused(now) {
			continue
		}
		late++
		why := string(e.Record.Waiting)
		if why == "" {
			why = "is the scheduler running?"
		}
		add("overdue", Fail, `"keyrot status" shows more`, "user %s should have been rotated %s ago: %s", e.Record.User,
			now.Sub(since).Round(time.Second), why)
	}
	if late == 0 {
		add("overdue", OK, "", "nobody of %d managed users", len(entries))
	}
}

func (p Patient) mail(ctx context.Context, add adder) {
	if p.Mail == nil {
		return
	}
	text, err := p.Mail(ctx)
	if err != nil {
		add("mail", Warn, `"keyrot verify-emails" asks SES to verify addresses`, "%v", err)
		return
	}
	add("mail", OK, "", "%s", text)
}

func (p Patient) callers(ctx context.Context, add adder) {
	if p.Callers == nil {
		return
	}
	for _, c := range p.Callers(ctx) {
		if c.Err != nil {
			add("identities", Fail, "check that entry of server.identities, and the way there from this machine", "%s: %v", c.Name, c.Err)
			continue
		}
		add("identities", OK, "", "%s: %s", c.Name, c.Text)
	}
}
