package metrics

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const listPatience = 5 * time.Second

// Above maxUsers, only those users have series of their own that need somebody,
// at most maxWorst of them: what Prometheus keeps for each series is more than
// what keyrot keeps for each user.
const (
	maxUsers = 500
	maxWorst = 50
)

//nolint:gochecknoglobals // constants
var (
	one       = []string{"user"}
	storeUp   = prometheus.NewDesc("keyrot_store_up", "Whether the store answers.", nil, nil)
	total     = prometheus.NewDesc("keyrot_users", "Users that are managed.", nil, nil)
	served    = prometheus.NewDesc("keyrot_users_serving", "Users with a key that can be handed out.", nil, nil)
	late      = prometheus.NewDesc("keyrot_users_overdue", "Users whose rotation is late and who are not paused.", nil, nil)
	frozen    = prometheus.NewDesc("keyrot_users_paused", "Users that an operator has frozen.", nil, nil)
	failing   = prometheus.NewDesc("keyrot_users_failing", "Users whose next step has failed.", nil, nil)
	oldest    = prometheus.NewDesc("keyrot_key_age_seconds_max", "Age of the oldest key that is handed out.", nil, nil)
	latest    = prometheus.NewDesc("keyrot_overdue_seconds_max", "How long ago the latest rotation was due; 0 if none is late.", nil, nil)
	keyAge    = prometheus.NewDesc("keyrot_key_age_seconds", "Age of the key that is handed out.", one, nil)
	nextDue   = prometheus.NewDesc("keyrot_next_rotation_timestamp_seconds", "When the next rotation is due.", one, nil)
	overdue   = prometheus.NewDesc("keyrot_overdue", "Whether the rotation is late.", one, nil)
	overdueBy = prometheus.NewDesc("keyrot_overdue_seconds", "How long ago a late rotation was due; 0 if it is not late.", one, nil)
	serving   = prometheus.NewDesc("keyrot_serving", "Whether the user has a key that can be handed out.", one, nil)
	paused    = prometheus.NewDesc("keyrot_paused", "Whether an operator has frozen the user.", one, nil)
	failures  = prometheus.NewDesc("keyrot_failures", "Failures in a row of the user's next step.", one, nil)
	keys      = prometheus.NewDesc("keyrot_keys", "Keys held, by stage.", []string{"user", "stage"}, nil)
)

// users collects what the store holds about users, at scrape time.
type users struct {
	roster *rotate.Roster
	policy func(string) plan.Policy
	sees   func(user string) bool
}

// Describe implements prometheus.Collector.
func (u *users) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		storeUp, total, served, late, frozen, failing, oldest, latest, keyAge, nextDue, overdue, overdueBy, serving, paused, failures, keys,
	} {
		ch <- d
	}
}

// facts are what a user's series are made of.
type facts struct {
	record          *plan.Record
	serving, paused bool
	age, overdue    time.Duration // overdue is 0 if the user is not late
	next            time.Time     // zero: there is no Current key
}

func (u *users) factsOf(r *plan.Record, now time.Time) facts {
	p := u.policy(r.User).WithDefaults()
	f := facts{record: r, paused: r.Paused(now)}
	_, f.serving = plan.Serve(*r, p, now)
	if since, late := plan.Overdue(*r, p, now); late && !f.paused {
		f.overdue = now.Sub(since)
	}
	if k := r.In(plan.Current); k != nil {
		f.age, f.next = now.Sub(k.Created), p.NextSlot(k.Slot)
	}
	return f
}

// needsSomebody reports whether the user is shown however many there are.
func (f facts) needsSomebody() bool {
	return f.overdue > 0 || !f.serving || f.record.Failures > 0
}

// worse orders users by how much they need somebody.
func worse(a, b facts) int {
	return cmp.Or(cmp.Compare(number(a.serving), number(b.serving)), cmp.Compare(b.overdue, a.overdue),
		cmp.Compare(b.record.Failures, a.record.Failures), cmp.Compare(a.record.User, b.record.User))
}

// Collect implements prometheus.Collector.
func (u *users) Collect(ch chan<- prometheus.Metric) {
	// A scrape has no context of its own.
	ctx, cancel := context.WithTimeout(context.Background(), listPatience)
	defer cancel()
	entries, now, err := u.roster.All(ctx)
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	put(storeUp, number(err == nil))
	if err != nil {
		return
	}
	all := make([]facts, 0, len(entries))
	for _, e := range entries {
		if u.sees(e.Record.User) {
			all = append(all, u.factsOf(&e.Record, now))
		}
	}
	summarize(all, put)
	if len(all) > maxUsers {
		all = slices.DeleteFunc(all, func(f facts) bool { return !f.needsSomebody() })
		slices.SortFunc(all, worse)
		all = all[:min(maxWorst, len(all))]
	}
	for _, f := range all {
		f.detail(put)
	}
}

type putter = func(d *prometheus.Desc, v float64, labels ...string)

// summarize puts the series that there are for all users together.
func summarize(all []facts, put putter) {
	var n struct{ served, late, frozen, failing float64 }
	var age, by time.Duration
	for _, f := range all {
		n.served += number(f.serving)
		n.late += number(f.overdue > 0)
		n.frozen += number(f.paused)
		n.failing += number(f.record.Failures > 0)
		age, by = max(age, f.age), max(by, f.overdue)
	}
	put(total, float64(len(all)))
	put(served, n.served)
	put(late, n.late)
	put(frozen, n.frozen)
	put(failing, n.failing)
	put(oldest, age.Seconds())
	put(latest, by.Seconds())
}

// detail puts the user's own series.
func (f facts) detail(put putter) {
	user := f.record.User
	put(serving, number(f.serving), user)
	put(paused, number(f.paused), user)
	put(failures, float64(f.record.Failures), user)
	put(overdue, number(f.overdue > 0), user)
	put(overdueBy, f.overdue.Seconds(), user)
	if !f.next.IsZero() {
		put(keyAge, f.age.Seconds(), user)
		put(nextDue, float64(f.next.UnixMilli())/1000, user)
	}
	stages := map[plan.Stage]int{}
	for _, k := range f.record.Keys {
		stages[k.Stage]++
	}
	for stage, n := range stages {
		put(keys, float64(n), user, string(stage))
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
