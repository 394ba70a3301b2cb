package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestEnrollAsItGoesWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "mailer")
	s.Refused(2, "must not be negative", "users", "enroll", "--canary", "-1")
	s.Refused(2, `"nobody"`, "users", "enroll", "nobody")
	if _, errs := s.Succeed("users", "enroll", "--dry-run"); !strings.Contains(errs, "dry run") || len(s.AWS.Alive("ci")) > 0 {
		t.Errorf("enroll --dry-run said %q and left %v", errs, s.AWS.Alive("ci"))
	}
	s.Strike(rotate.ErrDenied)
	if code, out, errs := s.Run("users", "enroll", "--wait", "0s"); code == 0 || !strings.Contains(out+errs, "denied") {
		t.Errorf("enroll, denied = %d\n%s%s", code, out, errs)
	}
	s.Strike(nil)
	s.Succeed("users", "enroll")
	foreign := newShell(t, "settle: 0s", "ci")
	if _, err := foreign.AWS.Plant("ci"); err != nil {
		t.Fatal(err)
	}
	foreign.Refused(2, "hint: find out who uses them", "users", "enroll")
	none := newShell(t, "settle: 0s")
	none.Refused(2, "no user is selected", "users", "enroll")
}

func TestImportProvesTheSecretFirst(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	key, secret, err := s.AWS.Create(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	with := func(text string) []string {
		s.Env.In = strings.NewReader(text)
		return []string{"users", "import", "ci", "--key", key.ID, "--init"}
	}
	s.Refused(2, "--key: is empty", "users", "import", "ci")
	s.Refused(2, "the secret access key is missing", with("\n")...)
	s.Refused(2, "check the key id and the secret", with("wrong\n")...)
	s.Refused(2, "check the key id and the secret", append(with(secret.Reveal()), "--key", "AKIANOTHERS")...)
	s.Refused(2, "--secret-file", append(with(""), "--secret-file", s.File+".none")...)
	s.Succeed(append(with(secret.Reveal()), "--dry-run")...)
	s.Strike(rotate.ErrDenied)
	if code, _, errs := s.Run(with(secret.Reveal())...); code == 0 || strings.Contains(errs, secret.Reveal()) {
		t.Errorf("import, denied = %d\n%s", code, errs)
	}
	s.Strike(nil)
	if _, errs := s.Succeed(with(secret.Reveal() + "\n")...); !strings.Contains(errs, "is imported") || strings.Contains(errs, secret.Reveal()) {
		t.Errorf("import said %q", errs)
	}
	if r := s.Record("ci"); r.Key(key.ID) == nil {
		t.Errorf("the store does not hold %s: %+v", key.ID, r)
	}
	s.Refused(2, "is managed already", with(secret.Reveal())...)
}

func TestAReleaseSaysThatTheSecretGoes(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "mailer")
	s.Succeed("users", "enroll")
	s.Refused(2, "not managed", "users", "release", "nobody")
	if _, errs := s.Succeed("users", "release", "ci", "--dry-run"); strings.Contains(errs, "only copy") {
		t.Errorf("release --dry-run said %q", errs)
	}
	key := s.AWS.Working("mailer")
	out, errs := s.Succeed("users", "release", "mailer", "--show-secret")
	if strings.Contains(errs, "only copy") || !strings.Contains(out, "SecretAccessKey") || !strings.Contains(out, key[0]) {
		t.Errorf("release --show-secret = %q, %q", out, errs)
	}
	if _, errs := s.Succeed("users", "release", "ci"); !strings.Contains(errs, "warning: the only copy of the secret of ci is deleted; --show-secret prints it first") {
		t.Errorf("release said %q", errs)
	}
	if now := s.AWS.Working("mailer"); !slices.Equal(key, now) {
		t.Errorf("keys that work after the release = %v, want %v", now, key)
	}
	s.Opened(func(st store) error {
		if _, err := st.Load(t.Context(), "ci"); !errors.Is(err, rotate.ErrNotFound) {
			t.Errorf("ci is not forgotten: %v", err)
		}
		return nil
	})
}

func TestAckNotesWhoHasTheKey(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Refused(2, "--caller: is empty", "users", "ack", "ci")
	s.Refused(2, "not managed", "users", "ack", "nobody", "--caller", "vendor")
	s.Succeed("users", "ack", "ci", "--caller", "vendor", "--dry-run")
	s.Refused(4, "nobody was given key", "whohas", s.AWS.Working("ci")[0])
	s.Succeed("users", "ack", "ci", "--caller", "vendor")
	if out, _ := s.Succeed("whohas", s.AWS.Working("ci")[0]); !strings.Contains(out, "vendor") {
		t.Errorf("whohas = %s", out)
	}
}
