package cli

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// slow opens a system over the store in dir whose account allows 0.1 creations a
// second, as an earlier process has found, and which manages n users.
func slow(t *testing.T, n int) (_ Env, _ common, _ *system, out, errs fmt.Stringer) {
	t.Helper()
	dir := t.TempDir()
	e, o, w := testEnv(t, map[string]string{"KEYROT_STORE_PATH": filepath.Join(dir, "keyrot.db")})
	e.Now = time.Now
	c := common{File: os.DevNull, Flags: map[string]any{"users.all": true, "server.listen": "127.0.0.1:0"}}
	cfg, err := e.loadValid(c)
	if err != nil {
		t.Fatal(err)
	}
	sdk, _ := datedAWS(t)
	s, err := open(t.Context(), e, cfg, e.cloudOf(sdk, cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close(context.Background()) })
	for i := range n {
		if _, err := s.store.Save(t.Context(), rotate.Entry{Record: plan.Record{User: fmt.Sprintf("user-%03d", i), Enrolled: time.Now()}}); err != nil {
			t.Fatal(err)
		}
	}
	raw := fmt.Appendf(nil, `{"CreateAccessKey":{"rate":0.1,"at":%q}}`, time.Now().UTC().Format(time.RFC3339))
	if _, err := s.store.SaveSetting(t.Context(), "iam.pace", raw, 0); err != nil {
		t.Fatal(err)
	}
	return e, c, s, o, w
}

// More users than the account allows to rotate that often: every command that
// shows, begins or checks something says so, by the rate that was found.
func TestTooManyUsersAreToldEverywhere(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // whom status asks for the time
	e, c, s, out, errs := slow(t, 100)
	const complaint = "100 users every 10m takes 0.17 rotations per second, and CreateAccessKey allows 0.075: 40 users will be overdue, by up to 6m"
	cfg, err := e.loadValid(c)
	if err != nil {
		t.Fatal(err)
	}
	told := func(command, text string) {
		t.Helper()
		if !strings.Contains(text, complaint) {
			t.Errorf("%s says %q, want it to say %q", command, text, complaint)
		}
	}
	s.forewarn(t.Context(), e, cfg)
	told("serve", errs.String())
	e.Err = &strings.Builder{}
	if err := e.status(t.Context(), statusOptions{common: c}); err != nil {
		t.Fatal(err)
	}
	told("status", fmt.Sprint(e.Err))
	if err := e.plan(t.Context(), planOptions{common: c, Users: 100}); err == nil || exitCode(err) != 1 {
		t.Errorf("plan = %v, want an error with exit code 1", err)
	} else {
		told("plan's error", err.Error())
	}
	told("plan", out.String())
	if text := out.String(); !strings.Contains(text, "0.1 CreateAccessKey per second, as found, allows 45 users") {
		t.Errorf("plan says %q, want the rate that was found", text)
	}
	found := capacityFor(cfg, []string{"a", "b"}, e.found(t.Context(), cfg))
	if found.Creates != 0.1 || found.Deletes != 10 {
		t.Errorf("doctor reckons with %+v, want what was found and iam.rate", found.Load)
	}
	if h, err := s.health.Health(t.Context()); err != nil || h.WillBeOverdue < 39 || h.WillBeOverdue > 41 {
		t.Errorf("Health() = %+v, %v, want 40 users that will be overdue", h, err)
	}
	if c := s.health.Capacity(); c.Feasible {
		t.Errorf("the daemon's own capacity = %+v, want it not feasible", c)
	}
	scraped := httptest.NewRecorder()
	s.server.Metrics(func(string) bool { return true }).ServeHTTP(scraped, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if body := scraped.Body.String(); !regexp.MustCompile(`(?m)^keyrot_users_will_be_overdue (39|40|41)$`).MatchString(body) {
		t.Errorf("the metrics do not say that 40 users will be overdue:\n%s", body)
	}
}

// What a process found is what the next one begins with.
func TestTheStoreRemembersThePace(t *testing.T) {
	t.Parallel()
	e, c, s, _, _ := slow(t, 1)
	if err := s.rotator.Pace.Wait(t.Context(), rotate.CreateAccessKey); err != nil {
		t.Fatal(err)
	}
	if got := s.pace.Found()[rotate.CreateAccessKey]; got < 0.1 || got > 0.11 {
		t.Errorf("the rotator's pace began with %v a second, want what was found before, 0.1", got)
	}
	if err := s.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg, err := e.loadValid(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.found(t.Context(), cfg)[rotate.CreateAccessKey]; got < 0.1 || got > 0.11 {
		t.Errorf("the next process finds %v, want 0.1", got)
	}
}

// Without a store nothing is found, and none is made.
func TestNothingIsFoundWithoutAStore(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := e.loadValid(common{File: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store.Path = filepath.Join(t.TempDir(), "keyrot.db")
	if got := e.found(t.Context(), cfg); len(got) > 0 {
		t.Errorf("found() = %v, want nothing", got)
	}
	if _, err := os.Stat(cfg.Store.Path); err == nil {
		t.Error("found() made a store")
	}
}

// A new stack for more users than IAM allows is refused; one that has users is
// told, so that what makes it better can be deployed.
func TestADeploymentOfTooManyUsers(t *testing.T) {
	t.Parallel()
	e, _, errs := testEnv(t, nil)
	cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"iam.rate": "0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	users := make([]rotate.User, 100)
	p := &deployment{Env: e, cfg: cfg}
	if err := p.suffices(users, true); exitCode(err) != 2 || !strings.Contains(err.Error(), "will be overdue") {
		t.Errorf("a new stack: %v, want a refusal with exit code 2", err)
	}
	if err := p.suffices(users, false); err != nil || !strings.Contains(errs.String(), "40 users will be overdue") {
		t.Errorf("a stack that has users: %v, %q, want a warning", err, errs)
	}
	if err := p.suffices(users[:40], true); err != nil {
		t.Errorf("a new stack of 40 users: %v, want none", err)
	}
}
