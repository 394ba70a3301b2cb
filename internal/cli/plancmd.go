package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

type planOptions struct {
	common
	User  string
	Users int // how many users the capacity is worked out for
	Cost  bool
	Agent float64 // agents for each user, for the cost
}

func newPlanCmd(run func(context.Context, planOptions) error) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Draw the timeline of a schedule and say whether it can be kept",
		Long: `Draw the timeline of a schedule and say whether it can be kept. Nothing is read
but the configuration; an impossible schedule is refused with the inequality
that fails (exit code 2).`,
		Example: "  keyrot plan --rotate-every 30m\n  keyrot plan --cost --count 500\n  keyrot plan --schedule two-active -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	scheduleFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.User, "user", "", "the schedule of this user, overrides included")
	cmd.Flags().IntVar(&o.Users, "count", 100, "how many users the number of IAM calls, and the cost, is worked out for")
	cmd.Flags().BoolVar(&o.Cost, "cost", false, "say what each way to run keyrot costs in AWS")
	cmd.Flags().Float64Var(&o.Agent, "agents", 1, "how many agents of each user ask twice a minute whether the key is another, for the cost")
	return cmd
}

// planView is a schedule as it is shown.
type planView struct {
	RotateEvery     string  `json:"rotate_every"`
	DeactivateAfter string  `json:"deactivate_after"`
	DeleteAfter     string  `json:"delete_after"`
	Settle          string  `json:"settle"`
	Feasible        bool    `json:"feasible"`
	Expiration      string  `json:"expiration"`         // how long after its slot a key is promised to work
	BothActive      string  `json:"both_active"`        // how long two keys work around a rotation
	TwoActiveShare  float64 `json:"two_active_share"`   // part of the time with two active keys, 0 to 1
	FreeSlot        string  `json:"free_slot"`          // how long IAM's second slot is free in each interval
	Users           int     `json:"users"`              //
	CallsPerSecond  float64 `json:"calls_per_second"`   // IAM writes for that many users
	MostUsersAtRate int     `json:"most_users_at_rate"` // users that iam.rate allows

	Costs    []costView    `json:"costs,omitempty"`
	Agents   float64       `json:"agents,omitempty"`  // for each user, in Costs
	Capacity cost.Capacity `json:"capacity,omitzero"` // of the table in Costs; absent: on demand
}

// writesPerRotation are create, deactivate and delete.
const writesPerRotation = 3

func (e Env) plan(_ context.Context, o planOptions) error {
	if o.Users < 1 {
		return usagef("--count: %d: must be greater than 0", o.Users)
	}
	if o.Agent < 0 {
		return usagef("--agents: %g: must not be negative", o.Agent)
	}
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	p := cfg.Policy(o.User)
	v := viewOfPlan(p, cfg, o.Users)
	if o.Cost {
		v.Agents, v.Costs, v.Capacity = o.Agent, costsOf(p, o.Users, o.Agent), loadOf(p, o.Users, o.Agent).Capacity()
	}
	if o.Output == "json" {
		return writeJSON(e.Out, v)
	}
	if o.Cost {
		return e.showCosts(v)
	}
	_, err = fmt.Fprint(e.Out, describe(v), "\n", timeline(p, 72))
	return err
}

func viewOfPlan(p plan.Policy, cfg config.Config, users int) planView {
	r := p.RotateEvery.Seconds()
	return planView{
		RotateEvery: span(p.RotateEvery), DeactivateAfter: span(p.DeactivateAfter), DeleteAfter: span(p.DeleteAfter),
		Settle: span(max(p.Settle, 0)), Feasible: true,
		Expiration:      span(p.DeactivateAfter - p.Grace),
		BothActive:      span(p.Overlap()),
		TwoActiveShare:  min(1, p.Overlap().Seconds()/r),
		FreeSlot:        span(2*p.RotateEvery - p.DeleteAfter),
		Users:           users,
		CallsPerSecond:  writesPerRotation * float64(users) / r,
		MostUsersAtRate: int(cfg.IAM.Rate * r / writesPerRotation),
	}
}

func describe(v planView) string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%-18s %s\n", name, value) }
	line("rotate every", v.RotateEvery)
	line("deactivate after", v.DeactivateAfter)
	line("delete after", v.DeleteAfter)
	line("settle", v.Settle)
	line("feasible", "yes")
	line("two keys active", fmt.Sprintf("%s in every %s (%.0f %% of the time)", v.BothActive, v.RotateEvery, 100*v.TwoActiveShare))
	line("IAM calls", fmt.Sprintf("%.2g per second for %d users; iam.rate allows %d users", v.CallsPerSecond, v.Users, v.MostUsersAtRate))
	return b.String()
}

// timeline draws four keys of a user: '=' handed out, '-' active but
// superseded, '.' inactive.
func timeline(p plan.Policy, width int) string {
	const keys = 4
	total := time.Duration(keys-1)*p.RotateEvery + p.DeleteAfter
	col := func(d time.Duration) int {
		return int(int64(width) * int64(d/time.Millisecond) / int64(total/time.Millisecond))
	}
	var b strings.Builder
	for k := range keys {
		slot := time.Duration(k) * p.RotateEvery
		row := []byte(strings.Repeat(" ", width))
		draw := func(from, to time.Duration, c byte) {
			for i := col(from); i < min(col(to), width); i++ {
				row[i] = c
			}
		}
		draw(slot, slot+p.RotateEvery, '=')
		draw(slot+p.RotateEvery, slot+p.DeactivateAfter, '-')
		draw(slot+p.DeactivateAfter, slot+p.DeleteAfter, '.')
		fmt.Fprintf(&b, "key %d  |%s\n", k+1, strings.TrimRight(string(row), " "))
	}
	b.WriteString("       " + axis(p, col, keys, width) + "\n")
	b.WriteString("       = handed out   - superseded, still active   . inactive\n")
	return b.String()
}

// axis writes the time of each slot under its column.
func axis(p plan.Policy, col func(time.Duration) int, keys, width int) string {
	row := []byte(strings.Repeat(" ", width+12))
	for k := range keys {
		t := time.Duration(k) * p.RotateEvery
		label := "0"
		if k > 0 {
			label = span(t)
		}
		copy(row[col(t)+1:], label)
	}
	return strings.TrimRight(string(row), " ")
}
