package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func (s *shell) paused(user string) bool {
	r := s.Record(user)
	return r.Paused(time.Now())
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Refused(2, "is not a duration such as 2h", "pause", "ci", "--for", "2")
	s.Refused(2, "not managed", "pause", "nobody")
	s.Refused(4, "not paused", "resume", "ci")
	s.Succeed("pause", "ci", "--dry-run")
	if s.paused("ci") {
		t.Error("pause --dry-run paused")
	}
	s.Succeed("pause", "ci", "--for", "2h", "--reason", "migration")
	if out, _ := s.Succeed("status"); !strings.Contains(out, "paused") {
		t.Errorf("status = %s", out)
	}
	s.Succeed("resume", "ci", "--dry-run")
	s.Succeed("resume", "ci")
	if s.paused("ci") {
		t.Error("the user is paused after resume")
	}
}

func TestRotateOnceAsItGoesWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "mailer")
	s.Refused(2, "--user: is empty", "rotate-once", "--user", "")
	s.Refused(2, `"nobody"`, "rotate-once", "--user", "nobody")
	s.Refused(2, "--output", "rotate-once", "-o", "yaml")
	if _, errs := s.Succeed("rotate-once", "--dry-run"); !strings.Contains(errs, "dry run") || len(s.AWS.Alive("ci")) > 0 {
		t.Errorf("rotate-once --dry-run said %q", errs)
	}
	s.Succeed("rotate-once")
	s.Strike(rotate.ErrDenied)
	s.Refused(3, "2 of 2 users failed", "rotate-once", "--force", "--wait", "0s")
	s.Strike(nil)
	out, _ := s.Succeed("rotate-once", "--user", "ci", "--force", "-o", "json")
	var rep struct{ Users []userView }
	if err := json.Unmarshal([]byte(out), &rep); err != nil || len(rep.Users) != 1 || !strings.Contains(out, s.Record("ci").Keys[len(s.Record("ci").Keys)-1].ID) {
		t.Errorf("rotate-once -o json = %v, want the whole id of the new key:\n%s", err, out)
	}
}

func TestStatusSaysWhatThereIs(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "mailer")
	s.Refused(2, "does not exist", "status")
	s.Succeed("users", "enroll")
	for _, args := range []string{"status", "status ci", "status ci mailer", "status --search MAIL", "status --state on-time", "status --page 1", "status -o json"} {
		if out, _ := s.Succeed(strings.Fields(args)...); !strings.Contains(out, "ci") && !strings.Contains(out, "mailer") {
			t.Errorf("keyrot %s =\n%s", args, out)
		}
	}
	if out, errs := s.Succeed("status", "--search", "zz"); out != "" || !strings.Contains(errs, "none of 2 users") {
		t.Errorf("status --search = %q, %q", out, errs)
	}
	s.Refused(2, "not managed", "status", "zz")
	s.Strike(rotate.ErrDenied) // of which status asks nothing
	s.Succeed("status")
}

func TestPlanDrawsAndReckons(t *testing.T) {
	t.Parallel()
	s := newShell(t, "", "ci")
	for args, want := range map[string]string{
		"plan": "key 1", "plan --cost": "month", "plan --schedule two-active": "20m", "plan --rotate-every 90d": "90d",
		"plan -o json": "{", "plan --cost -o json": "{", "plan --schedule default --users 500": "key 1",
	} {
		if out, errs := s.Succeed(strings.Fields(args)...); !strings.Contains(out+errs, want) {
			t.Errorf("keyrot %s lacks %q:\n%s%s", args, want, out, errs)
		}
	}
	s.Refused(2, "schedule", "plan", "--schedule", "none")
	s.Refused(2, "no unit", "plan", "--rotate-every", "10")
}

func TestPublishAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newShell(t, "settle: 0s\npublish: [{type: file, path: '"+filepath.Join(dir, "${USER}.json")+"'}]", "ci")
	s.Succeed("users", "enroll")
	file := filepath.Join(dir, "ci.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.Refused(2, "not managed", "publish", "nobody")
	s.Succeed("publish", "ci", "--dry-run")
	if _, err := os.Stat(file); err == nil {
		t.Error("publish --dry-run published")
	}
	s.Succeed("publish", "ci", "--reason", "reinstalled")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Refused(1, "error", "publish", "ci", "--wait", "0s")
	none := newShell(t, "settle: 0s", "ci")
	none.Succeed("users", "enroll")
	none.Refused(2, "no target is configured", "publish", "ci")
}

func TestRecoverWhatTheStoreDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "other")
	s.Succeed("users", "enroll", "other")
	s.Refused(4, "no unknown keys found", "recover", "other")
	lost, err := s.AWS.Plant("ci")
	if err != nil {
		t.Fatal(err)
	}
	s.Succeed("recover", "--dry-run", "--ours", lost)
	s.Env.In = strings.NewReader("no\n")
	if _, errs := s.Succeed("recover", "ci"); !strings.Contains(errs, "ci is left as it is") {
		t.Errorf("recover, answered no, said %q", errs)
	}
	s.Succeed("recover", "ci", "--keep", lost)
	s.Env.In = strings.NewReader("yes\nno\n")
	s.Refused(2, "not confirmed", "recover", "ci")
	s.Env.In = nil
	s.Succeed("recover", "ci", "--ours", lost[len(lost)-8:], "--yes")
	if r := s.Record("ci"); r.Key(lost) == nil && len(r.Keys) == 0 {
		t.Errorf("the user was not recovered: %+v", r)
	}
	s.Strike(rotate.ErrDenied)
	if code, _, errs := s.Run("recover"); code == 0 {
		t.Errorf("recover, denied = 0\n%s", errs)
	}
}

func TestAPIKeysFromTheirMakingToTheirEnd(t *testing.T) {
	t.Parallel()
	s := newShell(t, "", "ci")
	s.Refused(2, "no users", "api-key", "create")
	s.Refused(2, "--expires", "api-key", "create", "--users", "ci", "--expires", "-1h")
	s.Refused(2, "role", "api-key", "create", "--users", "ci", "--role", "root")
	out, _ := s.Succeed("api-key", "create", "--init", "--users", "ci", "--name", "ci", "--expires", "90d", "-o", "json")
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	s.Refused(2, "is not a duration", "api-key", "rotate", made.ID, "--overlap", "x")
	s.Refused(2, "api-key list", "api-key", "rotate", "none")
	s.Succeed("api-key", "rotate", made.ID)
	for _, args := range [][]string{{"api-key", "list"}, {"api-key", "list", "-o", "json"}} {
		if out, _ := s.Succeed(args...); !strings.Contains(out, made.ID) || strings.Contains(out, "krk_") {
			t.Errorf("api-key list = %s", out)
		}
	}
	s.Succeed("api-key", "revoke", made.ID)
	s.Refused(4, "revoked already", "api-key", "revoke", made.ID)
	s.Refused(2, "API key", "api-key", "rotate", made.ID)
}

func TestTheLogIsProvenReportedAndCut(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Succeed("rotate-once", "--force")
	if out, _ := s.Succeed("audit", "verify"); !strings.Contains(out, "the chain holds") {
		t.Errorf("audit verify = %s", out)
	}
	s.Succeed("audit", "verify", "-o", "json")
	for _, args := range []string{"audit report", "audit report --format json", "audit report --since 1h -o json"} {
		if out, _ := s.Succeed(strings.Fields(args)...); !strings.Contains(out, s.AWS.Working("ci")[0]) {
			t.Errorf("keyrot %s = %s", args, out)
		}
	}
	s.Refused(2, "--since", "audit", "report", "--since", "x")
	s.Refused(2, "--format", "audit", "report", "--format", "pdf")
	s.Refused(2, "--audit-log", "audit", "report", "--audit-log", s.File+".none")
	s.Refused(2, "24h at least", "audit", "prune", "--keep", "1h")
	if out, _ := s.Succeed("audit", "prune", "--keep", "400d", "--dry-run"); !strings.Contains(out, "nothing is older") {
		t.Errorf("audit prune --dry-run = %s", out)
	}
	if out, _ := s.Succeed("audit", "prune", "--keep", "400d", "-o", "json"); !strings.Contains(out, `"log"`) {
		t.Errorf("audit prune = %s", out)
	}
	cfg, err := s.Env.load(common{File: s.File})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(cfg.Audit.Path)
	if err == nil {
		err = os.WriteFile(cfg.Audit.Path, []byte(strings.Replace(string(raw), `"user":"ci"`, `"user":"xx"`, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Refused(1, "audit log "+cfg.Audit.Path, "audit", "verify")
}

func TestDoctorLooksAtAll(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s\nserver: {listen: '127.0.0.1:0'}", "ci")
	s.Succeed("users", "enroll")
	if out, _ := s.Succeed("doctor"); !strings.Contains(out, "ok    selection") {
		t.Errorf("doctor =\n%s", out)
	}
	out, _ := s.Succeed("doctor", "-o", "json")
	if !json.Valid([]byte(out)) {
		t.Errorf("doctor -o json = %s", out)
	}
	s.Strike(rotate.ErrDenied)
	s.Refused(1, "checks failed", "doctor")
	s.Strike(errors.New("throttled"))
	s.Refused(1, "checks failed", "doctor")
	s.Strike(nil)
	s.Refused(1, "checks failed", "doctor", "--rotate-every", "10m", "--deactivate-after", "5m")
	s.Refused(2, "no unit", "doctor", "--rotate-every", "10")
}
