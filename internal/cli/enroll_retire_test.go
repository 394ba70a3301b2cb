package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestEnrolmentDemandsAProvenKey: a user whose key AWS does not accept yet is not
// done, whether or not it has a key from before; others do not follow a canary
// like that, and nobody is told that something is wrong with the old key.
func TestEnrolmentDemandsAProvenKey(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s\nexisting_keys: retire", "ci", "web")
	old, err := s.AWS.Plant("ci")
	if err != nil {
		t.Fatal(err)
	}
	s.AWS.Change(func(a *rotatetest.AWS) { a.NewKey = rotatetest.Delay{Min: time.Hour, Max: time.Hour} })
	code, out, errs := s.Run("users", "enroll", "--canary", "1", "--wait", "100ms")
	if code != 3 || !strings.Contains(out, `the new key of "ci" was not ready within 100ms (unproven)`) || !strings.Contains(errs, "stopping before 1 others") {
		t.Errorf("enroll of an unproven canary = %d\n%s%s", code, out, errs)
	}
	if strings.Contains(errs, "cannot go on") || strings.Contains(out+errs, "no_successor") {
		t.Errorf("the key from before keyrot is reported as a problem:\n%s%s", out, errs)
	}
	if keys := s.AWS.Truth("web"); len(keys) > 0 {
		t.Errorf("web has %v, want nothing before the canary is done", keys)
	}
	if code, out, errs := s.Run("users", "enroll", "--canary", "1", "--wait", "0s"); code != 2 || !strings.Contains(errs, "needs a --wait") {
		t.Errorf("a canary that nobody waits for = %d\n%s%s", code, out, errs)
	}
	s.AWS.Change(func(a *rotatetest.AWS) { a.NewKey = rotatetest.Delay{} })
	if code, out, errs := s.Run("users", "enroll", "web"); code != 0 || !strings.Contains(out, "promote") {
		t.Errorf("enroll once AWS accepts keys = %d\n%s%s", code, out, errs)
	}
	if working := s.AWS.Working("ci"); len(working) == 0 || !slices.Contains(working, old) {
		t.Errorf("working keys of ci = %v, want %s among them", working, old)
	}
}
