package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// statusOptions is what of the status is asked for.
type statusOptions struct {
	common
	Users  []string   // only these; nil: all
	Query  page.Query // Page 0: no page was asked for
	Watch  bool
	paging bool // --page was given
}

func newStatusCmd(run, watch func(context.Context, statusOptions) error) *cobra.Command {
	var o statusOptions
	var state string
	cmd := &cobra.Command{
		Use:   "status [USER]...",
		Short: "Show users, keys, ages and what comes next",
		Long: `Show users, keys, ages and what comes next, as the store has it. AWS is asked
for the time only. Users that need somebody come first.

Given users are shown with all that is known about them. --state and --search
narrow the list. On a terminal ` + strconv.Itoa(page.PageSize) + ` users are shown at a time; --page shows the next.
Elsewhere, and as JSON, all of them are shown unless a page is asked for.

The states are:
  leaked   a leaked key is not dead yet
  late     a new key is overdue, or nobody has looked at the user when it was due
  held     something stands in the way, and somebody has to act
  paused   by an operator
  waiting  for a retry, for IAM, for the first key, or with an order open
  on-time  all is as planned`,
		Example: "  keyrot status\n  keyrot status ci mailer\n  keyrot status --state late\n  keyrot status --search app- --page 2\n" +
			"  keyrot status --watch\n  keyrot status -o json",
		RunE: func(cmd *cobra.Command, users []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			if o.Query.Group, err = page.ParseGroup(state); err != nil {
				return usagef("--state: %w", err)
			}
			o.paging = cmd.Flags().Changed("page")
			if o.paging && o.Query.Page < 1 {
				return usagef("--page: pages are counted from 1")
			}
			if o.Watch && o.paging {
				return usagef("--watch scrolls; leave out --page")
			}
			o.Users = users
			if o.Watch {
				return watch(cmd.Context(), o)
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	storeFlags(f)
	setting(f, "audit.path", "audit-log", "the log that --watch takes the past from (default: audit.jsonl beside the store)")
	f.BoolVar(&o.Watch, "watch", false, "show it live, with timelines, until q or Ctrl-C")
	f.StringVar(&state, "state", "", "only users in this state")
	f.StringVar(&o.Query.Text, "search", "", "only users with this in their name, in small letters or capitals")
	f.IntVar(&o.Query.Page, "page", 0, fmt.Sprintf("show this page of %d users", page.PageSize))
	return cmd
}

// keyStatus is one key of a user.
type keyStatus struct {
	Key         string    `json:"key"` // whole access key id
	Stage       string    `json:"stage"`
	Created     time.Time `json:"created"`
	Promise     time.Time `json:"promise,omitzero"` // handed out as working until then
	Deactivated time.Time `json:"deactivated,omitzero"`
}

// userStatus is one user.
type userStatus struct {
	User    string      `json:"user"`
	Keys    []keyStatus `json:"keys"`
	Next    time.Time   `json:"next,omitzero"` // when keyrot looks at the user again
	State   page.Group  `json:"state"`         // see --state
	Overdue bool        `json:"overdue"`
	Since   time.Time   `json:"since,omitzero"` // overdue, late or waiting since
	Waiting string      `json:"waiting,omitempty"`
	Paused  bool        `json:"paused"`
	Orders  []orderView `json:"orders,omitempty"` // not carried out yet
	// Unpublished are the targets that do not hold the Current key, with the
	// last failure.
	Unpublished []targetView `json:"unpublished,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// orderView is an operator's order that is open.
type orderView struct {
	Kind   string    `json:"kind"`
	Key    string    `json:"key,omitempty"` // whole access key id
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	State  string    `json:"state,omitempty"` // what is known about it
}

// targetView is a publisher's target.
type targetView struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}

func (e Env) status(ctx context.Context, o statusOptions) (err error) {
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	clock := e.clockOnly(ctx, cfg)
	st, err := openExisting(ctx, cfg, clock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	entries, err := st.List(ctx)
	if err != nil {
		return err
	}
	clock.Settle(ctx) // unless the table's answer told the time already
	l := listing{o: o, cfg: cfg, now: clock.Now(), limited: isTerminal(e.Out)}
	if err := l.read(entries); err != nil {
		return err
	}
	users := make([]string, len(entries))
	for i, entry := range entries {
		users[i] = entry.Record.User
	}
	e.warnOf(capacityFor(cfg, users, e.found(ctx, cfg)))
	if o.Output == "json" {
		return writeJSON(e.Out, l.views)
	}
	if l.note != "" {
		defer func() { _, _ = fmt.Fprintln(e.Err, "keyrot: "+l.note) }()
	}
	if len(l.views) == 0 {
		return nil
	}
	if len(o.Users) > 0 {
		return l.details(e.Out)
	}
	rows := [][]string{{"USER", "KEY", "STAGE", "AGE", "STATE"}}
	for _, v := range l.views {
		rows = append(rows, rowsOf(v, l.now)...)
	}
	return writeTable(e.Out, rows)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// listing is what of the entries is shown.
type listing struct {
	o       statusOptions
	cfg     config.Config
	now     time.Time
	limited bool // it is for a terminal

	views []userStatus
	users []page.User // of the views
	note  string      // what to say about it
}

// read narrows the entries to what is asked for: ordered by name for programs,
// otherwise those that need somebody first.
func (l *listing) read(entries []rotate.Entry) error {
	policy := l.cfg.PolicyAt(func() time.Time { return l.now })
	by := map[string]*rotate.Entry{}
	facts := page.Facts{Policy: policy}
	for i := range entries {
		by[entries[i].Record.User] = &entries[i]
		facts.Entries = append(facts.Entries, &entries[i])
	}
	all := page.Build(facts, l.now).Users
	for _, name := range l.o.Users {
		if _, ok := by[name]; !ok {
			return fmt.Errorf("user %q: %w", name, rotate.ErrNotManaged)
		}
	}
	q := l.o.Query
	found := slices.DeleteFunc(slices.Clone(all), func(u page.User) bool {
		return !q.Takes(u) || len(l.o.Users) > 0 && !slices.Contains(l.o.Users, u.Name)
	})
	if l.o.Output == "json" {
		slices.SortFunc(found, func(a, b page.User) int { return strings.Compare(a.Name, b.Name) })
	}
	l.users = found
	if l.o.paging || l.limited && l.o.Output != "json" && len(l.o.Users) == 0 {
		l.users = page.Query{Page: q.Page}.Find(found).Users
	}
	l.views = []userStatus{}
	for _, u := range l.users {
		v := statusOf(*by[u.Name], l.cfg, l.now)
		v.State = u.Group
		l.views = append(l.views, v)
	}
	switch {
	case len(all) == 0:
		l.note = "no user is managed yet"
	case len(found) == 0:
		l.note = fmt.Sprintf("none of %d users", len(all))
	case len(l.users) < len(found):
		l.note = fmt.Sprintf("%d of %d users; --page, --state and --search show others", len(l.users), len(found))
	case len(found) < len(all) && len(l.o.Users) == 0:
		l.note = fmt.Sprintf("%d of %d users", len(found), len(all))
	}
	return nil
}

// details shows users with all that is known about them.
func (l *listing) details(out io.Writer) error {
	for i, u := range l.users {
		if i > 0 {
			_, _ = fmt.Fprintln(out)
		}
		head := u.Name + ": " + u.State
		if !u.Since.IsZero() {
			head += " for " + span(max(0, l.now.Sub(u.Since)))
		}
		lines := []string{head, u.Why, u.Do}
		for _, o := range l.views[i].Orders {
			lines = append(lines, o.words(l.now))
		}
		for _, t := range l.views[i].Unpublished {
			lines = append(lines, "Not published to "+t.Name+": "+cmp.Or(t.Error, "not tried yet"))
		}
		if u.Error != "" {
			lines = append(lines, "Last failure: "+u.Error)
		}
		if next := nextWords(u, l.now); next != "" {
			lines = append(lines, "Next: "+next)
		}
		for j, line := range slices.DeleteFunc(lines, func(s string) bool { return s == "" }) {
			if j > 0 {
				line = "  " + line
			}
			_, _ = fmt.Fprintln(out, printable.Line(line))
		}
		rows := [][]string{{"  KEY", "STAGE", "AGE", "CREATED", "PROMOTED", "PROMISED UNTIL", "DEACTIVATED", "DELETED"}}
		for _, k := range u.Keys {
			age, promise := "-", "-"
			if k.ID != "" {
				age = span(max(0, l.now.Sub(k.Created.At)))
				promise = l.instant(page.Moment{At: l.promise(i, k.ID)})
			}
			rows = append(rows, []string{
				"  " + cmp.Or(k.ID, "next"), stageOf(k), age, l.instant(k.Created), l.instant(k.Promoted), promise,
				l.instant(k.Deactivated), l.instant(k.Deleted),
			})
		}
		if err := writeTable(out, rows); err != nil { // so does what failed before
			return err
		}
	}
	return nil
}

// promise is until when the key was handed out as working.
func (l *listing) promise(i int, key string) time.Time {
	for _, k := range l.views[i].Keys {
		if api.ShortKey(k.Key) == key {
			return k.Promise
		}
	}
	return time.Time{}
}

// instant writes a moment in UTC, with its date unless that is today's; one that
// is planned is in brackets.
func (l *listing) instant(m page.Moment) string {
	if m.At.IsZero() {
		return "-"
	}
	at, format := m.At.UTC(), time.TimeOnly
	if at.Format(time.DateOnly) != l.now.UTC().Format(time.DateOnly) {
		format = time.DateTime
	}
	if m.Planned {
		return "(" + at.Format(format) + ")"
	}
	return at.Format(format)
}

func statusOf(entry rotate.Entry, cfg config.Config, now time.Time) userStatus {
	r := entry.Record
	v := userStatus{User: r.User, Keys: []keyStatus{}, Next: entry.Due, Waiting: string(r.Waiting), Paused: r.Paused(now), Error: r.Error}
	for _, k := range r.Keys {
		v.Keys = append(v.Keys, keyStatus{k.ID, string(k.Stage), k.Created, k.Promise, k.Deactivated})
	}
	for _, o := range rotate.OpenOrders(r) {
		v.Orders = append(v.Orders, orderView{string(o.Kind), o.KeyID, o.At, o.By, o.Reason, o.State})
	}
	for _, t := range r.Unpublished() {
		v.Unpublished = append(v.Unpublished, targetView{t.Name, t.Error})
	}
	v.Since, v.Overdue = plan.Overdue(r, cfg.PolicyAt(func() time.Time { return now })(r.User), now)
	if !v.Overdue {
		v.Since = r.Since
	}
	return v
}

// words says in a line what is ordered and how it stands.
func (o orderView) words(now time.Time) string {
	s := o.Kind
	if o.Key != "" {
		s += " of " + api.ShortKey(o.Key)
	}
	s += " ordered " + span(max(0, now.Sub(o.At))) + " ago"
	if o.State != "" {
		s += ": " + o.State
	}
	return s
}

func rowsOf(v userStatus, now time.Time) [][]string {
	state := "ok, next look in " + span(max(0, v.Next.Sub(now)))
	switch {
	case v.Paused:
		state = "paused"
	case v.Overdue:
		state = "overdue for " + span(now.Sub(v.Since))
	case v.State == page.Late:
		state = "late for " + span(now.Sub(v.Next))
	}
	if len(v.Orders)+len(v.Unpublished) > 0 {
		state = strings.TrimPrefix(state, "ok, ")
	}
	for i := len(v.Orders) - 1; i >= 0; i-- {
		state = v.Orders[i].words(now) + "; " + state
	}
	for _, t := range v.Unpublished {
		state += ", not published to " + t.Name
		if t.Error != "" && t.Error != v.Error {
			state += " (" + t.Error + ")"
		}
	}
	if v.Waiting != "" {
		state += ", waiting: " + v.Waiting
	}
	if v.Error != "" {
		state += ", last error: " + v.Error
	}
	if len(v.Keys) == 0 {
		return [][]string{{v.User, "-", "-", "-", state}}
	}
	var rows [][]string
	for i, k := range v.Keys {
		stage := k.Stage
		if !k.Deactivated.IsZero() {
			stage += " (inactive)"
		}
		row := []string{v.User, api.ShortKey(k.Key), stage, span(now.Sub(k.Created)), state}
		if i > 0 {
			row[0], row[4] = "", ""
		}
		rows = append(rows, row)
	}
	return rows
}
