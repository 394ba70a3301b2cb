package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func newStatusCmd(run, watch func(context.Context, common) error) *cobra.Command {
	var watching bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show users, keys, ages and what comes next",
		Long:    "Show users, keys, ages and what comes next, as the store has it. AWS is asked for the time only.",
		Example: "  keyrot status\n  keyrot status --watch\n  keyrot status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := commonOf(cmd)
			if err != nil {
				return err
			}
			if watching {
				return watch(cmd.Context(), c)
			}
			return run(cmd.Context(), c)
		},
	}
	storeFlags(cmd.Flags())
	setting(cmd.Flags(), "audit.path", "audit-log", "the log that --watch takes the past from (default: audit.jsonl beside the store)")
	cmd.Flags().BoolVar(&watching, "watch", false, "show it live, with timelines, until q or Ctrl-C")
	return cmd
}

// keyStatus is one key of a user.
type keyStatus struct {
	Key         string    `json:"key"` // shortened
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
	Overdue bool        `json:"overdue"`
	Since   time.Time   `json:"since,omitzero"` // overdue or waiting since
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
	Key    string    `json:"key,omitempty"` // shortened
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

func (e Env) status(ctx context.Context, c common) (err error) {
	cfg, err := e.loadValid(c)
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
	now := clock.Now()
	views := make([]userStatus, len(entries))
	for i, entry := range entries {
		views[i] = statusOf(entry, cfg, now)
	}
	users := make([]string, len(views))
	for i, v := range views {
		users[i] = v.User
	}
	e.warnOf(capacityFor(cfg, users, e.found(ctx, cfg)))
	if c.Output == "json" {
		return writeJSON(e.Out, views)
	}
	if len(views) == 0 {
		_, _ = fmt.Fprintln(e.Err, "keyrot: no user is managed yet")
		return nil
	}
	rows := [][]string{{"USER", "KEY", "STAGE", "AGE", "STATE"}}
	for _, v := range views {
		rows = append(rows, rowsOf(v, now)...)
	}
	return writeTable(e.Out, rows)
}

func statusOf(entry rotate.Entry, cfg config.Config, now time.Time) userStatus {
	r := entry.Record
	v := userStatus{User: r.User, Keys: []keyStatus{}, Next: entry.Due, Waiting: string(r.Waiting), Paused: r.Paused(now), Error: r.Error}
	for _, k := range r.Keys {
		v.Keys = append(v.Keys, keyStatus{api.ShortKey(k.ID), string(k.Stage), k.Created, k.Promise, k.Deactivated})
	}
	for _, o := range rotate.OpenOrders(r) {
		v.Orders = append(v.Orders, orderView{string(o.Kind), api.ShortKey(o.KeyID), o.At, o.By, o.Reason, o.State})
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
		s += " of " + o.Key
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
		row := []string{v.User, k.Key, stage, span(now.Sub(k.Created)), state}
		if i > 0 {
			row[0], row[4] = "", ""
		}
		rows = append(rows, row)
	}
	return rows
}
