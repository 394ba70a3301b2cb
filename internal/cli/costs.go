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

func costsOf(p plan.Policy, users int) []costView {
	var views []costView
	for _, b := range cost.Bills(cost.Load{Users: users, RotateEvery: p.RotateEvery, Tick: stackTick}) {
		views = append(views, costView{b.Name, b.Total(), b.Lines})
	}
	return views
}

func (e Env) showCosts(v planView) error {
	e.say("US dollars a month for %d users, a key every %s, one hand-out of each key, us-east-1 list prices", v.Users, v.RotateEvery)
	rows := [][]string{{"HOW", "WHAT", "USD/MONTH"}}
	for _, c := range v.Costs {
		for _, l := range c.Lines {
			rows = append(rows, []string{c.Name, l.Name, fmt.Sprintf("%.2f", l.Dollars)})
		}
		rows = append(rows, []string{c.Name, "TOTAL", fmt.Sprintf("%.2f", c.Total)})
	}
	return writeTable(e.Out, rows)
}
