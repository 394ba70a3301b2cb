// Package metrics counts what keyrot does, for Prometheus. It looks on: it
// wraps what others use and changes nothing about it. No label holds a secret
// or something that a stranger chose; per-user series exist for managed users
// only.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

const (
	scrapesAtOnce = 4
	scrapeTimeout = 10 * time.Second
)

// Metrics are the counters of one process. Its methods are safe for
// concurrent use.
type Metrics struct {
	now      func() time.Time
	registry *prometheus.Registry
	scrapes  chan struct{}
	users    func(sees func(user string) bool) *users

	steps     *prometheus.CounterVec
	rotations *prometheus.CounterVec
	lateness  *prometheus.HistogramVec
	iam       *prometheus.CounterVec
	verify    prometheus.Histogram
	handouts  *prometheus.CounterVec
	requests  *prometheus.CounterVec
	took      *prometheus.HistogramVec
}

// Options says what is looked at. All fields but Now are required.
type Options struct {
	Roster *rotate.Roster
	Policy func(user string) plan.Policy
	Now    func() time.Time // default time.Now
	// Pace returns how many calls per second may be sent to IAM right now, of the
	// slowest action that changes something, and how many at most.
	Pace func() (now, most float64)
	// Ahead returns how many users will be late at any time, as far as is known. It is
	// asked at each scrape: it must be quick.
	Ahead func() int
	Late  *rotate.Late    // where hand-outs wait that could not be recorded
	Down  func() []string // publishers that fail for all users
}

// New makes metrics in a registry of their own.
func New(o Options) *Metrics {
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Metrics{
		now: o.Now, registry: prometheus.NewRegistry(), scrapes: make(chan struct{}, scrapesAtOnce),
		steps:     counter("keyrot_steps_total", "Steps taken for users.", "action", "result"),
		rotations: counter("keyrot_rotations_total", "Rotations completed (ok) and steps of a rotation that failed (error).", "result"),
		lateness: histogram("keyrot_step_lateness_seconds", "How long after its due time a planned step was done.",
			[]float64{.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600}, "action"),
		iam: counter("keyrot_iam_calls_total", "Calls of IAM and STS.", "action", "result"),
		verify: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keyrot_verification_seconds", Help: "One GetCallerIdentity call with a key that is being proven.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		handouts: counter("keyrot_handouts_total", "Credentials asked for by callers that may have them.", "result"),
		requests: counter("keyrot_http_requests_total", "Requests answered.", "route", "method", "status"),
		took: histogram("keyrot_http_request_seconds", "Time from a request's header to its answer.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}, "route"),
	}
	m.registry.MustRegister(m.steps, m.rotations, m.lateness, m.iam, m.verify, m.handouts, m.requests, m.took,
		gauge("keyrot_iam_rate_limit", "Calls per second of the slowest of the IAM actions that change something, as AWS was found to accept.",
			func() float64 { n, _ := o.Pace(); return n }),
		gauge("keyrot_iam_rate_limit_max", "The most calls per second of one IAM action that changes something (iam.rate).",
			func() float64 { _, n := o.Pace(); return n }),
		gauge("keyrot_users_will_be_overdue", "Users that will be late at any time, because IAM or the workers allow fewer rotations than "+
			"the schedules ask for, as of the last minute; 0 if all can be on time.",
			func() float64 { return float64(o.Ahead()) }),
		gauge("keyrot_handouts_unrecorded", "Hand-outs that are not in the audit log yet; equal ones count once.",
			func() float64 { return float64(o.Late.Waiting()) }),
		gauge("keyrot_publishers_down", "Publishers that fail for all users.",
			func() float64 { return float64(len(o.Down())) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keyrot_handouts_late_total", Help: "Hand-outs that were recorded late."},
			func() float64 { return float64(o.Late.Recorded()) }),
	)
	m.users = func(sees func(string) bool) *users { return &users{o.Roster, o.Policy, sees} }
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

func gauge(name, help string, f func() float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

// Handler answers with the text exposition, for somebody who may see those
// users: what is said of users is said of them only. Of a store that does not
// answer it says keyrot_store_up 0 and leaves the users out.
func (m *Metrics) Handler(sees func(user string) bool) http.Handler {
	theirs := prometheus.NewRegistry()
	theirs.MustRegister(m.users(sees))
	h := promhttp.HandlerFor(prometheus.Gatherers{m.registry, theirs}, promhttp.HandlerOpts{Timeout: scrapeTimeout})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case m.scrapes <- struct{}{}:
			defer func() { <-m.scrapes }()
			h.ServeHTTP(w, r)
		default:
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
		}
	})
}

// Step is meant for rotate.Rotator.Observe.
func (m *Metrics) Step(_ string, step plan.Step, err error) {
	if step.Action == plan.Wait {
		return
	}
	m.steps.WithLabelValues(string(step.Action), result(err)).Inc()
	switch {
	case err == nil && step.Action == plan.Promote:
		m.rotations.WithLabelValues("ok").Inc()
	case err != nil:
		switch step.Action {
		case plan.Create, plan.Verify, plan.Publish, plan.Promote:
			m.rotations.WithLabelValues("error").Inc()
		}
	}
	if err == nil && !step.Due.IsZero() && step.Action.Mutates() {
		m.lateness.WithLabelValues(string(step.Action)).Observe(max(0, m.now().Sub(step.Due).Seconds()))
	}
}

// Request is meant for server.Server.Observe.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// Dispenser is what hands out credentials.
type Dispenser interface {
	Give(ctx context.Context, user string, to rotate.Recipient) (rotate.Credential, error)
}

// Handouts counts what d hands out.
func (m *Metrics) Handouts(d Dispenser) Dispenser { return counted{d, m} }

type counted struct {
	Dispenser
	m *Metrics
}

// Give implements [Dispenser].
func (c counted) Give(ctx context.Context, user string, to rotate.Recipient) (rotate.Credential, error) {
	cred, err := c.Dispenser.Give(ctx, user, to)
	c.m.handouts.WithLabelValues(result(err)).Inc()
	return cred, err
}

// result names an outcome, in a bounded number of words.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	for _, r := range []struct {
		err  error
		name string
	}{
		{rotate.ErrThrottled, "throttled"},
		{rotate.ErrDenied, "denied"},
		{rotate.ErrRefused, "refused"},
		{rotate.ErrLimit, "limit"},
		{rotate.ErrNoUser, "no_user"},
		{rotate.ErrNoKey, "no_key"},
		{rotate.ErrNoKeyReady, "no_key_ready"},
		{rotate.ErrNotFound, "not_found"},
		{rotate.ErrConflict, "conflict"},
		{context.DeadlineExceeded, "timeout"},
		{context.Canceled, "canceled"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "error"
}
