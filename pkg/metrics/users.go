package metrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const (
	userLabel    = "user"
	listPatience = 5 * time.Second
	listAge      = time.Second // several scrapers at once cost one look
)

//nolint:gochecknoglobals // constants
var (
	storeUp   = prometheus.NewDesc("keyrot_store_up", "Whether the store answers.", nil, nil)
	keyAge    = prometheus.NewDesc("keyrot_key_age_seconds", "Age of the key that is handed out.", []string{userLabel}, nil)
	nextDue   = prometheus.NewDesc("keyrot_next_rotation_timestamp_seconds", "When the next rotation is due.", []string{userLabel}, nil)
	overdue   = prometheus.NewDesc("keyrot_overdue", "Whether the rotation is late.", []string{userLabel}, nil)
	overdueBy = prometheus.NewDesc("keyrot_overdue_seconds", "How long ago a late rotation was due; 0 if it is not late.",
		[]string{userLabel}, nil)
	serving  = prometheus.NewDesc("keyrot_serving", "Whether the user has a key that can be handed out.", []string{userLabel}, nil)
	paused   = prometheus.NewDesc("keyrot_paused", "Whether an operator has frozen the user.", []string{userLabel}, nil)
	failures = prometheus.NewDesc("keyrot_failures", "Failures in a row of the user's next step.", []string{userLabel}, nil)
	keys     = prometheus.NewDesc("keyrot_keys", "Keys held, by stage.", []string{userLabel, "stage"}, nil)
)

// users collects what the store holds about each user, at scrape time.
type users struct {
	store  rotate.Store
	policy func(string) plan.Policy
	now    func() time.Time

	mu      sync.Mutex
	at      time.Time
	entries []rotate.Entry
	err     error
}

// Describe implements prometheus.Collector.
func (u *users) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storeUp, keyAge, nextDue, overdue, overdueBy, serving, paused, failures, keys} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (u *users) Collect(ch chan<- prometheus.Metric) {
	entries, err := u.list()
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	put(storeUp, number(err == nil))
	now := u.now()
	for _, e := range entries {
		r := e.Record
		p := u.policy(r.User).WithDefaults()
		_, ok := plan.Serve(r, p, now)
		put(serving, number(ok), r.User)
		put(paused, number(r.Paused(now)), r.User)
		put(failures, float64(r.Failures), r.User)
		since, late := plan.Overdue(r, p, now)
		late = late && !r.Paused(now)
		put(overdue, number(late), r.User)
		by := 0.0
		if late {
			by = now.Sub(since).Seconds()
		}
		put(overdueBy, by, r.User)
		if k := r.In(plan.Current); k != nil {
			put(keyAge, now.Sub(k.Created).Seconds(), r.User)
			put(nextDue, float64(p.NextSlot(k.Slot).UnixMilli())/1000, r.User)
		}
		stages := map[plan.Stage]int{}
		for _, k := range r.Keys {
			stages[k.Stage]++
		}
		for stage, n := range stages {
			put(keys, float64(n), r.User, string(stage))
		}
	}
}

func (u *users) list() ([]rotate.Entry, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	if d := now.Sub(u.at); u.at.IsZero() || d < 0 || d >= listAge {
		// A scrape has no context of its own.
		ctx, cancel := context.WithTimeout(context.Background(), listPatience)
		defer cancel()
		u.entries, u.err = u.store.List(ctx)
		u.at = now
	}
	return u.entries, u.err
}

// visible leaves out the series of users that sees does not accept.
func visible(all []*dto.MetricFamily, sees func(user string) bool) []*dto.MetricFamily {
	hidden := func(m *dto.Metric) bool {
		return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == userLabel && !sees(l.GetValue()) })
	}
	for _, f := range all {
		f.Metric = slices.DeleteFunc(f.Metric, hidden)
	}
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 })
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
