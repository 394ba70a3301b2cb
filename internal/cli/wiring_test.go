package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyrot/keyrot/internal/bound"
	"github.com/keyrot/keyrot/pkg/notify"
	"github.com/keyrot/keyrot/pkg/publish"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// ahead is how far AWS's clock is from this machine's in these tests.
const ahead = 24 * time.Hour

// datedAWS refuses everything, a day ahead of this machine.
func datedAWS(t *testing.T) (sdk aws.Config, requests func() []*http.Request) {
	t.Helper()
	var mu sync.Mutex
	var all []*http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		all = append(all, r)
		mu.Unlock()
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AccessDenied</Code></Error><RequestId>r</RequestId></ErrorResponse>`)
	}))
	t.Cleanup(srv.Close)
	return aws.Config{
			Region: "eu-west-1", BaseEndpoint: &srv.URL,
			Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""), HTTPClient: bound.Client(),
		}, func() []*http.Request {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
}

const everything = `
notify: {ses: {from: a@example.com, to: [b@example.com]}, sns: {topic: "arn:aws:sns:eu-west-1:123456789012:t"}}
publish:
  - {type: ssm, parameter: "/k/${USER}"}
  - {type: webhook, url: "http://localhost:1/", key_file: KEY, optional: true}
server:
  caller_rate: 7
  failure_rate: 8
  max_connections: 9
  trusted_proxies: [10.0.0.0/8]
  id: k.example
  identities: [{name: role, kind: aws, arns: ["arn:aws:iam::123456789012:role/x"], users: [ci]}]
`

// opened is what serve opens with everything switched on.
func opened(t *testing.T) (*system, func() []*http.Request) {
	t.Helper()
	e, _, errs := testEnv(t, nil)
	e.Now = time.Now
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "keyrot.yaml")
	for name, text := range map[string]string{key: strings.Repeat("k", publish.MinKey), file: strings.ReplaceAll(everything, "KEY", key)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := e.loadValid(common{File: file, Flags: map[string]any{"users.names": []string{"ci"}}})
	if err != nil {
		t.Fatal(err)
	}
	sdk, requests := datedAWS(t)
	s, err := open(t.Context(), e, cfg, e.cloudOf(sdk, cfg))
	if err != nil {
		t.Fatalf("open() = %v\n%s", err, errs)
	}
	t.Cleanup(func() { _ = s.close(context.Background()) })
	return s, requests
}

// held fails unless v's exported fields are set, all but those named.
func held(t *testing.T, v any, zero ...string) {
	t.Helper()
	r := reflect.Indirect(reflect.ValueOf(v))
	for f, x := range r.Fields() {
		switch unset := x.IsZero(); {
		case !f.IsExported():
		case unset && !slices.Contains(zero, f.Name):
			t.Errorf("%s.%s is not set", r.Type(), f.Name)
		case !unset && slices.Contains(zero, f.Name):
			t.Errorf("%s.%s is set, though it is listed as left out", r.Type(), f.Name)
		}
	}
}

// TestServeIsWired holds what serve and rotate-once open against the list of
// what they need. Whoever adds a part says here whether it is set.
func TestServeIsWired(t *testing.T) {
	t.Parallel()
	s, _ := opened(t)
	defaults := []string{"Reselect", "Reconcile", "ProofGap", "Proofs", "Dry"}
	held(t, s.rotator, defaults...)
	held(t, s.server, "TLS", "MetricsOpen")
	held(t, s.server.Keys, "Fixed", "Adopted", "MaxAge")
	held(t, s.server.Tokens, "Issuer", "Audience")
	held(t, s.server.Limits)
	held(t, s.late)
	held(t, s.guard)
	held(t, s.pace)
	held(t, s.pruner)
	held(t, s.rotator.Store.(vitalStore))
	held(t, s.server.Page, "Secure", "Charge") // Charge is set by server.Handler
	held(t, s.notify, "Instance", "Gather")
	held(t, s.watch, "Missed", "Every")
	if len(s.rotator.Publishers) != 1 || len(s.rotator.Optional) != 1 || len(s.notify.Channels) != 2 {
		t.Errorf("%d required and %d optional publishers and %d channels are joined, want 1, 1 and 2",
			len(s.rotator.Publishers), len(s.rotator.Optional), len(s.notify.Channels))
	}
	if s.late.Audit.(vitalAudit).v != s.guard.Parts[0] || s.rotator.Store.(vitalStore).writes != s.guard.Parts[2] {
		t.Error("the guard does not see how the audit log and the store are")
	}
	if s.rotator.Roster != s.roster {
		t.Error("the rotator reads all users beside what the others read")
	}
	// A step is seen by the metrics and by the notices.
	s.rotator.Observe("ci", plan.Step{Action: plan.Create}, context.DeadlineExceeded)
	if !s.notify.Pending() {
		t.Error("a failed step reaches no notice")
	}
	w := httptest.NewRecorder()
	s.server.Metrics(func(string) bool { return true }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), `keyrot_steps_total{action="create",result="timeout"} 1`) {
		t.Errorf("a failed step reaches no metric:\n%s", w.Body)
	}
}

// told has AWS date one answer, through what stands in front of IAM, and checks
// that each of the clocks then shows AWS's time.
func told(t *testing.T, ask func() error, clocks map[string]func() time.Time) {
	t.Helper()
	for name, now := range clocks {
		if offset(now) < time.Hour {
			t.Errorf("%s knew AWS's time before AWS told it", name)
		}
	}
	if err := ask(); err == nil {
		t.Fatal("the call succeeded, want AWS's refusal")
	}
	agree(t, clocks)
}

// offset is how far a clock is from AWS's.
func offset(now func() time.Time) time.Duration { return (time.Until(now()) - ahead).Abs() }

func agree(t *testing.T, clocks map[string]func() time.Time) {
	t.Helper()
	for name, now := range clocks {
		if o := offset(now); o > 5*time.Second {
			t.Errorf("%s is %s away from AWS's time", name, o)
		}
	}
}

// late is a user whose rotation is overdue by AWS's clock, and has hours left
// by this machine's.
func late() rotate.Entry {
	at := time.Now().UTC().Add(ahead - time.Hour)
	return rotate.Entry{
		Record: plan.Record{User: "ci", UserID: "AIDACI", Enrolled: at, Slot: at, Keys: []plan.Held{{
			ID: "AKIACI", Stage: plan.Current, Slot: at, Created: at, Made: at, Proven: at, Promoted: at, Promise: at.Add(12 * time.Minute),
		}}},
		Secrets: map[string]rotate.Secret{"AKIACI": rotate.NewSecret("s")}, Due: at,
	}
}

func TestServeHasOneClock(t *testing.T) {
	t.Parallel()
	s, requests := opened(t)
	told(t, func() error { _, err := s.rotator.IAM.Keys(t.Context(), "ci"); return err }, map[string]func() time.Time{
		"the rotator": s.rotator.Clock.Now, "API keys": s.server.Keys.Now, "tokens": s.server.Tokens.Now, "the page": s.server.Page.Now,
		"health": s.health.now, "the roster": s.roster.Now, "notices": s.notify.Now, "the watchdog": s.watch.Clock.Now,
		"late records": s.late.Now, "the required publisher": s.rotator.Publishers[0].(publish.Only).To.(*publish.SSM).Now,
		"the webhook": s.rotator.Optional[0].(publish.Only).To.(*publish.Webhook).Now,
		"SES":         s.notify.Channels[0].(*notify.SES).Now, "SNS": s.notify.Channels[1].(*notify.SNS).Now,
	})
	if _, err := s.store.Save(t.Context(), late()); err != nil {
		t.Fatal(err)
	}
	if h, err := s.server.Health.Health(t.Context()); err != nil || h.Overdue != 1 {
		t.Errorf("Health() = %+v, %v, want the user overdue", h, err)
	}
	w := httptest.NewRecorder()
	s.server.Metrics(func(string) bool { return true }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), `keyrot_overdue{user="ci"} 1`) {
		t.Errorf("the metrics do not show the user overdue:\n%s", w.Body)
	}
	c, err := s.server.Credentials.Give(t.Context(), "ci", rotate.Recipient{Caller: "test"})
	if left := time.Until(c.Expiration) - ahead; err != nil || left < 10*time.Second || left > 2*time.Minute {
		t.Errorf("Give() = an Expiration %s ahead by AWS's clock, %v; want a rolled promise", left, err)
	}
	w = httptest.NewRecorder() // clients go by the date of answers
	s.server.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/generate-token", nil))
	if at, err := http.ParseTime(w.Header().Get("Date")); err != nil || (time.Until(at)-ahead).Abs() > 5*time.Second {
		t.Errorf("a refusal is dated %q, want AWS's time", w.Header().Get("Date"))
	}
	// Signatures outside IAM.
	_ = s.notify.Channels[1].Send(t.Context(), notify.Message{Subject: "s"})
	_ = s.rotator.Publishers[0].Publish(t.Context(), rotate.Credential{User: "ci", KeyID: "AKIACI", Secret: rotate.NewSecret("s")})
	all := requests()
	for _, r := range all[len(all)-2:] {
		if at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err != nil || (time.Until(at)-ahead).Abs() > time.Minute {
			t.Errorf("%s %s is signed at %s, want AWS's time", r.Method, r.Header.Get("X-Amz-Target"), r.Header.Get("X-Amz-Date"))
		}
	}
}

// TestServeAsksForTheTime: a hand-out before the first answer asks AWS.
func TestServeAsksForTheTime(t *testing.T) {
	t.Parallel()
	s, _ := opened(t)
	if _, err := s.store.Save(t.Context(), late()); err != nil {
		t.Fatal(err)
	}
	c, err := s.server.Credentials.Give(t.Context(), "ci", rotate.Recipient{Caller: "test"})
	if left := time.Until(c.Expiration) - ahead; err != nil || left < 10*time.Second || left > 2*time.Minute {
		t.Errorf("Give() = an Expiration %s ahead by AWS's clock, %v; want a rolled promise", left, err)
	}
}

// lambdaEnv is the environment of a function before datedAWS.
func lambdaEnv(t *testing.T, which string) Env {
	t.Helper()
	sdk, _ := datedAWS(t)
	for k, v := range map[string]string{
		"AWS_REGION": sdk.Region, "AWS_ENDPOINT_URL": *sdk.BaseEndpoint, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s",
		"AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(k, v)
	}
	vars := map[string]string{
		functionVariable: which, "KEYROT_STORE_TABLE": "t", "KEYROT_STORE_KMS_KEY": "k", "KEYROT_USERS_NAMES": "ci", apiSecretVariable: "id",
		"KEYROT_NOTIFY_SES_FROM": "a@example.com", "KEYROT_NOTIFY_SES_TO": "b@example.com", nameVariable: "f",
	}
	return Env{Out: io.Discard, Err: io.Discard, Now: time.Now, Getenv: func(k string) string { return vars[k] }}
}

func TestTheRotatorsFunctionIsWired(t *testing.T) {
	f, s, err := lambdaEnv(t, "rotator").newFunction(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held(t, f, "API", "Margin", "MaxAge")
	held(t, s.rotator, "Publishers", "Optional", "Roster", "Beat", "Tick", "Reselect", "Reconcile", "ProofGap", "Proofs", "Dry", "Dead")
	held(t, s.watch, "Tick", "Missed", "Every", "Owner")
	held(t, s.notify, "Instance", "Gather")
	if _, err := s.rotator.IAM.Keys(t.Context(), "ci"); err == nil {
		t.Error("the call succeeded, want AWS's refusal")
	}
	agree(t, map[string]func() time.Time{
		"the rotator": s.rotator.Clock.Now, "health": s.health.now, "the roster": s.roster.Now, "notices": s.notify.Now, "the watchdog": s.watch.Clock.Now,
		"SES": s.notify.Channels[0].(*notify.SES).Now,
	})
}

func TestTheAPIsFunctionIsWired(t *testing.T) {
	_, s, err := lambdaEnv(t, "api").newFunction(t.Context())
	if err == nil || !strings.Contains(err.Error(), "API key") {
		t.Fatalf("newFunction() = %v, want that the stack's API key cannot be read", err)
	}
	held(t, s.server, "Proxies", "Identities", "TLS", "Page", "Metrics", "MetricsOpen", "Observe")
	held(t, s.server.Limits, "Connections") // an instance answers one request at a time
	d := s.server.Credentials.(*rotate.Dispenser)
	held(t, d, "Late")                    // a function is frozen after its answer: what it cannot record it refuses
	agree(t, map[string]func() time.Time{ // since Secrets Manager refused
		"the hand-out": d.Clock.Now, "API keys": s.server.Keys.Now, "tokens": s.server.Tokens.Now, "health": s.health.now, "the roster": s.roster.Now,
	})
}
