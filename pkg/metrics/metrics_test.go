package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/metrics"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// store says what it holds.
type store struct {
	rotate.Store
	entries []rotate.Entry
	err     error
}

func (s *store) Changes(context.Context, int64) (rotate.Changes, error) {
	return rotate.Changes{Entries: s.entries, Whole: true}, s.err
}

// aws fails every call with err.
type aws struct {
	rotate.IAM
	err error
}

func (a *aws) User(context.Context, string) (rotate.User, error)                { return rotate.User{}, a.err }
func (a *aws) Keys(context.Context, string) ([]plan.Key, error)                 { return nil, a.err }
func (a *aws) LastUsed(context.Context, string) (time.Time, error)              { return t0, a.err }
func (a *aws) SetStatus(context.Context, string, string, plan.Status) error     { return a.err }
func (a *aws) Delete(context.Context, string, string) error                     { return a.err }
func (a *aws) Verify(context.Context, rotate.User, string, rotate.Secret) error { return a.err }
func (a *aws) Create(context.Context, string) (plan.Key, rotate.Secret, error) {
	return plan.Key{}, rotate.Secret{}, a.err
}

type disp struct{ err error }

func (d *disp) Give(context.Context, string, rotate.Recipient) (rotate.Credential, error) {
	return rotate.Credential{}, d.err
}

func newMetrics(s *store) *metrics.Metrics {
	now, policy := func() time.Time { return t0.Add(20 * time.Minute) }, func(string) plan.Policy { return plan.Policy{} }
	return metrics.New(metrics.Options{
		Roster: &rotate.Roster{Store: s, Policy: policy, Now: now}, Policy: policy, Now: now,
		Pace: func() (float64, float64) { return 1, 2 }, Ahead: func() int { return 40 },
		Late: &rotate.Late{}, Down: func() []string { return []string{"target"} },
	})
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	res := httptest.NewRecorder()
	m.Handler(func(string) bool { return true }).ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if res.Code != 200 {
		t.Fatalf("scrape = %d %s", res.Code, res.Body)
	}
	return res.Body.String()
}

// exercise makes every metric appear.
func exercise(t *testing.T) string {
	t.Helper()
	s := &store{entries: []rotate.Entry{{Record: plan.Record{User: "ci", Slot: t0, Keys: []plan.Held{
		{ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current, Slot: t0, Created: t0, Promoted: t0, Promise: t0.Add(12 * time.Minute)},
	}}}}}
	m := newMetrics(s)
	ctx := t.Context()
	inner := &aws{}
	iam := m.IAM(inner)
	d := &disp{}
	give := m.Handouts(d)
	for _, err := range []error{nil, rotate.ErrThrottled, errors.New("reset")} {
		inner.err, d.err = err, err
		_, _ = iam.User(ctx, "ci")
		_, _ = iam.Keys(ctx, "ci")
		_, _ = iam.LastUsed(ctx, "k")
		_, _, _ = iam.Create(ctx, "ci")
		_ = iam.SetStatus(ctx, "ci", "k", plan.Inactive)
		_ = iam.Delete(ctx, "ci", "k")
		_ = iam.Verify(ctx, rotate.User{}, "k", rotate.Secret{})
		_, _ = give.Give(ctx, "ci", rotate.Recipient{})
		m.Step("ci", plan.Step{Action: plan.Create, Due: t0.Add(20*time.Minute - 3*time.Second)}, err)
		m.Step("ci", plan.Step{Action: plan.Promote}, err)
	}
	m.Step("ci", plan.Step{Action: plan.Wait}, nil)
	m.Request("/active-key", "GET", 200, time.Millisecond)
	return scrape(t, m)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	got := exercise(t)
	for _, want := range []string{
		`keyrot_key_age_seconds{user="ci"} 1200`,
		`keyrot_overdue{user="ci"} 1`,
		`keyrot_serving{user="ci"} 1`,
		`keyrot_paused{user="ci"} 0`,
		`keyrot_keys{stage="Current",user="ci"} 1`,
		`keyrot_store_up 1`,
		`keyrot_iam_rate_limit 1`,
		`keyrot_publishers_down 1`,
		`keyrot_users_will_be_overdue 40`,
		`keyrot_iam_rate_limit_max 2`,
		`keyrot_iam_calls_total{action="CreateAccessKey",result="ok"} 1`,
		`keyrot_iam_calls_total{action="CreateAccessKey",result="throttled"} 1`,
		`keyrot_iam_calls_total{action="GetCallerIdentity",result="error"} 1`,
		`keyrot_verification_seconds_count 3`,
		`keyrot_rotations_total{result="ok"} 1`,
		`keyrot_rotations_total{result="error"} 4`,
		`keyrot_step_lateness_seconds_sum{action="create"} 3`,
		`keyrot_handouts_total{result="ok"} 1`,
		`keyrot_http_requests_total{method="GET",route="/active-key",status="200"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("metrics lack %s:\n%s", want, got)
			break
		}
	}
	if strings.Contains(got, "AKIA") || strings.Contains(got, `action="wait"`) {
		t.Errorf("metrics hold what they must not:\n%s", got)
	}
}

// TestSeriesAreBounded: above 500 users only the worst of them have series of
// their own; the sums are of all.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	s := &store{}
	for i := range 20_000 {
		slot := t0.Add(15 * time.Minute)
		if i%100 == 0 { // two hundred are late, the later the larger their number
			slot = t0.Add(-time.Duration(i) * time.Second)
		}
		k := plan.Held{ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current, Slot: slot, Created: slot, Promoted: slot, Promise: t0.Add(time.Hour)}
		r := plan.Record{User: fmt.Sprintf("u%05d", i), Slot: slot, Keys: []plan.Held{k}}
		switch i {
		case 1:
			r.Failures = 7
		case 2:
			r.Keys = nil
		case 3:
			r.Pause = &plan.Pause{Since: t0}
		}
		s.entries = append(s.entries, rotate.Entry{Record: r})
	}
	m := newMetrics(s)
	got := scrape(t, m)
	if n := strings.Count(got, "\n"); n > 600 {
		t.Errorf("a scrape of 20,000 users has %d lines, want at most 600", n)
	}
	for _, want := range []string{
		"keyrot_users 20000", "keyrot_users_serving 19999", "keyrot_users_overdue 201", "keyrot_users_paused 1", "keyrot_users_failing 1",
		`keyrot_serving{user="u00002"} 0`, `keyrot_overdue{user="u19900"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(got, `user="u00000"`) || strings.Contains(got, `user="u00004"`) {
		t.Error("metrics name users that are less late than fifty others, or not late at all")
	}
	res := httptest.NewRecorder()
	m.Handler(func(user string) bool { return user < "u00003" }).ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{"keyrot_users 3\n", `keyrot_failures{user="u00001"} 7`, `keyrot_serving{user="u00000"} 1`} {
		if !strings.Contains(res.Body.String(), want) {
			t.Errorf("metrics for a caller that may see three users lack %s", want)
		}
	}
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	got := scrape(t, newMetrics(&store{err: errors.New("locked")}))
	if !strings.Contains(got, "keyrot_store_up 0\n") || strings.Contains(got, "keyrot_key_age_seconds{") {
		t.Errorf("metrics of a store that is down:\n%s", got)
	}
}

// TestTemplatesUseMetricsThatExist holds the dashboard and the alert rules
// against what is exposed.
func TestTemplatesUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	exposed := exercise(t)
	name := regexp.MustCompile(`\bkeyrot_[a-z_]+\b`)
	for _, file := range []string{"../../templates/grafana/keyrot.json", "../../templates/prometheus/keyrot.rules.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := name.FindAllString(string(text), -1)
		slices.Sort(used)
		used = slices.Compact(used)
		if len(used) < 5 {
			t.Errorf("%s uses %v only", file, used)
		}
		for _, m := range used {
			if !regexp.MustCompile(`(?m)^` + m + `[{ ]`).MatchString(exposed) {
				t.Errorf("%s uses %s, which is not exposed", file, m)
			}
		}
	}
}

// TestOthersUsersAreHidden: whoever scrapes gets the series of its own users.
func TestOthersUsersAreHidden(t *testing.T) {
	t.Parallel()
	m := newMetrics(&store{entries: []rotate.Entry{{Record: plan.Record{User: "ci"}}, {Record: plan.Record{User: "payroll"}}}})
	res := httptest.NewRecorder()
	mine := func(user string) bool { return user == "ci" }
	m.Handler(mine).ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	body := res.Body.String()
	if !strings.Contains(body, `keyrot_serving{user="ci"} 0`) || !strings.Contains(body, "keyrot_store_up 1") || strings.Contains(body, "payroll") {
		t.Errorf("metrics for a caller that may see ci:\n%s\nwant those of ci and of no user", body)
	}
}
