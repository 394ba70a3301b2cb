package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/rotate"
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
		Long: `Draw the timeline of a schedule and say whether it can be kept, by the rates at
which IAM may be changed: iam.rate, or what keyrot has found AWS to accept, if
there is a store. AWS is not asked. An impossible schedule is refused with the
inequality that fails (exit code 2); one that so many users are too many for is
shown, with the shortest interval and how late users would be (exit code 1).`,
		Example: "  keyrot plan --rotate-every 30m\n  keyrot plan --users 500\n  keyrot plan --cost --users 500\n" +
			"  keyrot plan --schedule two-active -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.common, err = commonOf(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	scheduleFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.User, "user", "", "the schedule of this user, overrides included")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "users" { // of whom no names are needed here
			name = "count"
		}
		return pflag.NormalizedName(name)
	})
	cmd.Flags().IntVar(&o.Users, "count", 100, "how many users the number of IAM calls, and the cost, is worked out for")
	cmd.Flags().BoolVar(&o.Cost, "cost", false, "say what each way to run keyrot costs in AWS")
	cmd.Flags().Float64Var(&o.Agent, "agents", 1, "how many agents of each user ask twice a minute whether the key is another, for the cost")
	return cmd
}

// planView is a schedule as it is shown.
type planView struct {
	RotateEvery     string     `json:"rotate_every"`
	DeactivateAfter string     `json:"deactivate_after"`
	DeleteAfter     string     `json:"delete_after"`
	Settle          string     `json:"settle"`
	Feasible        bool       `json:"feasible"`
	Expiration      string     `json:"expiration"`         // how long after its slot a key is promised to work
	BothActive      string     `json:"both_active"`        // how long two keys work around a rotation
	TwoActiveShare  float64    `json:"two_active_share"`   // part of the time with two active keys, 0 to 1
	FreeSlot        string     `json:"free_slot"`          // how long IAM's second slot is free in each interval
	Users           int        `json:"users"`              //
	CallsPerSecond  float64    `json:"calls_per_second"`   // IAM writes for that many users
	MostUsersAtRate int        `json:"most_users_at_rate"` // users that the rates and workers allow
	Problem         string     `json:"problem,omitempty"`  // why it is not feasible, and how late users will be
	Scarce          string     `json:"scarce,omitempty"`   // what allows the fewest users: an action of IAM, or workers
	Shortest        string     `json:"shortest,omitempty"` // rotate_every that so many users can have at least
	LateUsers       int        `json:"late_users"`         // overdue at any time
	LateBy          string     `json:"late_by,omitempty"`  // how late they will be
	AllAtOnce       string     `json:"all_at_once"`        // how long it takes when all are due at once, as at the start
	Rates           []rateView `json:"rates"`              // per second, by action

	Costs    []costView    `json:"costs,omitempty"`
	Agents   float64       `json:"agents,omitempty"`  // for each user, in Costs
	Capacity cost.Capacity `json:"capacity,omitzero"` // of the table in Costs; absent: on demand
}

// rateView is how often an action of IAM may be called.
type rateView struct {
	Action    string  `json:"action"`
	PerSecond float64 `json:"per_second"`
	Found     bool    `json:"found"` // AWS was found to accept no more; otherwise iam.rate
}

// writesPerRotation are create, deactivate and delete.
const writesPerRotation = 3

func (e Env) plan(ctx context.Context, o planOptions) error {
	if o.Users < 1 {
		return usagef("--users: %d: must be greater than 0", o.Users)
	}
	if o.Agent < 0 {
		return usagef("--agents: %g: must not be negative", o.Agent)
	}
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	p := cfg.Policy(o.User)
	found := e.found(ctx, cfg)
	c := capacityOf(cfg, o.Users, p.RotateEvery, found)
	v := viewOfPlan(p, c, found)
	if o.Cost {
		v.Agents, v.Costs, v.Capacity = o.Agent, costsOf(p, o.Users, o.Agent), loadOf(p, o.Users, o.Agent).Capacity()
	}
	switch {
	case o.Output == "json":
		err = writeJSON(e.Out, v)
	case o.Cost:
		err = e.showCosts(v)
	default:
		_, err = fmt.Fprint(e.Out, describe(v, c), "\n", timeline(p, 72))
	}
	if err == nil && !c.Feasible {
		err = infeasible(c)
	}
	return err
}

func viewOfPlan(p plan.Policy, c plan.Capacity, found map[rotate.Call]float64) planView {
	r := p.RotateEvery.Seconds()
	v := planView{
		RotateEvery: span(p.RotateEvery), DeactivateAfter: span(p.DeactivateAfter), DeleteAfter: span(p.DeleteAfter),
		Settle: span(max(p.Settle, 0)), Feasible: c.Feasible,
		Expiration:      span(p.DeactivateAfter - p.Grace),
		BothActive:      span(p.Overlap()),
		TwoActiveShare:  min(1, p.Overlap().Seconds()/r),
		FreeSlot:        span(2*p.RotateEvery - p.DeleteAfter),
		Users:           c.Users,
		CallsPerSecond:  writesPerRotation * c.Needed,
		MostUsersAtRate: c.Most,
		Problem:         c.Complaint(), Scarce: c.Scarce, Shortest: span(c.Shortest), LateUsers: c.Late, AllAtOnce: span(c.AllAtOnce),
	}
	if c.Late > 0 {
		v.LateBy = span(c.LateBy)
	}
	for _, of := range []struct {
		call rotate.Call
		rate float64
	}{{rotate.CreateAccessKey, c.Creates}, {rotate.UpdateAccessKey, c.Updates}, {rotate.DeleteAccessKey, c.Deletes}} {
		rate, ok := found[of.call]
		v.Rates = append(v.Rates, rateView{string(of.call), of.rate, ok && rate == of.rate})
	}
	return v
}

func describe(v planView, c plan.Capacity) string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%-18s %s\n", name, value) }
	line("rotate every", v.RotateEvery)
	line("deactivate after", v.DeactivateAfter)
	line("delete after", v.DeleteAfter)
	line("settle", v.Settle)
	if v.Feasible {
		line("feasible", "yes")
	} else {
		line("feasible", "no: "+v.Problem)
		line("shortest interval", v.Shortest)
	}
	line("two keys active", fmt.Sprintf("%s in every %s (%.0f %% of the time)", v.BothActive, v.RotateEvery, 100*v.TwoActiveShare))
	line("IAM calls", fmt.Sprintf("%.2g per second for %d users; %s allows %d users", v.CallsPerSecond, v.Users,
		limitOf(c, v.Rates), v.MostUsersAtRate))
	line("all due at once", "take "+v.AllAtOnce)
	return b.String()
}

// limitOf says what allows the fewest users, and how that is known.
func limitOf(c plan.Capacity, rates []rateView) string {
	for _, r := range rates {
		switch {
		case r.Action == c.Scarce && r.Found:
			return fmt.Sprintf("%.2g %s per second, as found,", r.PerSecond, r.Action)
		case r.Action == c.Scarce:
			return "iam.rate"
		}
	}
	return c.Scarce
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
