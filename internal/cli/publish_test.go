package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestAFileIsPublishedAgain: the system as it is joined gives a target that was
// added later the key that is served, and makes a file again that was lost.
func TestAFileIsPublishedAgain(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	e.Now = time.Now
	file := filepath.Join(t.TempDir(), "ci.env")
	cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"users.names": "ci"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Publish = []config.Target{{Type: "file", Path: file, Format: "env", Users: []string{"ci"}}}
	aws := &rotatetest.AWS{}
	u := aws.AddUser("ci", "/", nil)
	k, secret, err := aws.Create(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), e, cfg, cloud{IAM: aws, Clock: rotatetest.Clock(), Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close(t.Context()) }()
	now := time.Now()
	if _, err := s.store.Save(t.Context(), rotate.Entry{
		Record: plan.Record{User: "ci", UserID: u.ID, Slot: now, Keys: []plan.Held{{
			ID: k.ID, Stage: plan.Current, Slot: now, Created: now, Made: now, Proven: now, Confirmed: now, Promoted: now, Promise: now.Add(10 * time.Minute),
		}}},
		Secrets: map[string]rotate.Secret{k.ID: secret},
	}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"added", "lost"} {
		if what == "lost" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := s.rotator.Republish(t.Context(), "ci", "", "test"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.rotator.Published(t.Context(), "ci", 0); err != nil {
			t.Fatalf("Published() = %v", err)
		}
		if got, err := os.ReadFile(file); err != nil || !strings.Contains(string(got), k.ID) {
			t.Errorf("a file that was %s: %q, %v, want the key that is served", what, got, err)
		}
	}
}

func TestPublishMistakesAreTold(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	run, _ := managing(t)
	if code, _, errs := run("publish", "ci"); code != 2 || !strings.Contains(errs, "no target is configured") {
		t.Errorf("publish without targets = %d, %q, want 2", code, errs)
	}
}

// TestATimeoutThatCannotBeKept is refused at the start, not cut later.
func TestATimeoutThatCannotBeKept(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	for timeout, fine := range map[string]bool{"20s": true, "40s": true, "41s": false, "10m": false} {
		file := filepath.Join(t.TempDir(), "keyrot.yaml")
		text := "users: {names: [ci]}\npublish:\n  - {type: hook, command: [/bin/true], timeout: " + timeout + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := e.loadValid(common{File: file}); (err == nil) != fine {
			t.Errorf("a hook with timeout %s: %v, want it taken: %v", timeout, err, fine)
		}
	}
}
