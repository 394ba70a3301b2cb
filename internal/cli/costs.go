package cli

import (
	"fmt"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// costView is the monthly cost of one way to run keyrot, in US dollars.
type costView struct {
	Name  string      `json:"name"`
	Total float64     `json:"total"`
	Lines []cost.Line `json:"lines"`
}

// loadOf is the load of that many users, each with some agents.
func loadOf(p plan.Policy, users int, agents float64) cost.Load {
	return cost.Load{Users: users, RotateEvery: p.RotateEvery, Tick: stackTick, Agents: agents}
}

func costsOf(p plan.Policy, users int, agents float64) []costView {
	var views []costView
	for _, b := range cost.Bills(loadOf(p, users, agents)) {
		views = append(views, costView{b.Name, b.Total(), b.Lines})
	}
	return views
}

func (e Env) showCosts(v planView) error {
	e.say("US dollars a month for %d users, a key every %s, one hand-out of each key, %g agents for each user, us-east-1 list prices",
		v.Users, v.RotateEvery, v.Agents)
	e.say("%s", tellCapacity(v.Capacity))
	rows := [][]string{{"HOW", "WHAT", "USD/MONTH"}}
	for _, c := range v.Costs {
		for _, l := range c.Lines {
			rows = append(rows, []string{c.Name, l.Name, fmt.Sprintf("%.2f", l.Dollars)})
		}
		rows = append(rows, []string{c.Name, "TOTAL", fmt.Sprintf("%.2f", c.Total)})
	}
	return writeTable(e.Out, rows)
}

// tellCapacity says how a table's load is paid for.
func tellCapacity(c cost.Capacity) string {
	if c == (cost.Capacity{}) {
		return "the table is paid on demand: provisioned capacity would not be cheaper by much"
	}
	return fmt.Sprintf("the load is steady: a table with %d read and %d write units a second provisioned, and %d and %d for its index, "+
		"is cheaper than on demand", c.Read, c.Write, c.IndexRead, c.IndexWrite)
}
