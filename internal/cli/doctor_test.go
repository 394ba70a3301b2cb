package cli

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/test/freeport"
)

// TestDoctorTriesWhatServeOpens: what would stop the daemon, or would never work
// in it, is found before.
func TestDoctorTriesWhatServeOpens(t *testing.T) {
	t.Parallel()
	nobody, err := freeport.Addr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(nobody)
	missing := filepath.Join(t.TempDir(), "missing")
	s := newShell(t, fmt.Sprintf(`
server: {listen: %q, tls_cert: %q, tls_key: %q}
publish:
  - {type: file, path: "%s/${USER}.env", format: env}
  - {type: hook, command: [%q]}
  - {type: webhook, url: "http://%s/", key_file: %q}
notify: {smtp: {host: %s, port: %s, tls: none, from: a@example.com, to: [b@example.com, c@example.com]}}
`, nobody, missing, missing, missing, missing, nobody, missing, host, port), "a", "b", "c", "d", "e")
	code, out, errs := s.Run("doctor")
	if code != 1 {
		t.Errorf("doctor = %d, want 1\n%s%s", code, out, errs)
	}
	for _, want := range []string{
		"fail  server", "fail  publish[0]", "for user a:", "fail  publish[1]", "fail  publish[2]", "key_file:", "fail  notify", "mail server",
		"fix: correct notify.*",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "mail server"); n != 1 {
		t.Errorf("the mail server is named %d times, want once for all recipients", n)
	}
}

// TestDoctorOfManyUsers says that it tried some of them.
func TestDoctorOfManyUsers(t *testing.T) {
	t.Parallel()
	s := newShell(t, "server: {listen: \"127.0.0.1:0\"}", "a", "b", "c", "d", "e")
	if code, out, errs := s.Run("doctor"); code != 0 || !strings.Contains(out, "3 of 5 users were tried") {
		t.Errorf("doctor = %d, want that it says how many users it tried\n%s%s", code, out, errs)
	}
}

// TestDoctorKnowsWhatIsSet: it does not advise what is set.
func TestDoctorKnowsWhatIsSet(t *testing.T) {
	t.Parallel()
	s := newShell(t, "existing_keys: retire", "one", "two")
	for _, u := range []string{"one", "two", "two"} {
		if _, err := s.AWS.Plant(u); err != nil {
			t.Fatal(err)
		}
	}
	_, out, errs := s.Run("doctor")
	if !strings.Contains(out, "(existing_keys: retire): 1") || strings.Contains(out, "set existing_keys: retire") ||
		strings.Count(out, "needs a free slot") != 2 {
		t.Errorf("doctor with existing_keys: retire:\n%s%s", out, errs)
	}
}
