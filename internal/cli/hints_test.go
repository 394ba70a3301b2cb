package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEachProblemHasItsOwnHintAndPlace: a hint about schedules hangs on problems of
// the schedule, and each value is told with the line that it is in.
func TestEachProblemHasItsOwnHintAndPlace(t *testing.T) {
	t.Parallel()
	e, _, errs := testEnv(t, map[string]string{"KEYROT_WORKERS": "1000", "KEYROT_ROTATE_EVRY": "1h"})
	e.Environ = []string{"KEYROT_WORKERS=1000", "KEYROT_ROTATE_EVRY=1h"}
	file := filepath.Join(t.TempDir(), "bad.yaml")
	text := "users: {names: [ci]}\nrotate_every: 10m\ndeactivate_after: 5m\nlog:\n  level: loud\n" +
		"server: {metrics: all}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := Run(t.Context(), e, []string{"serve", "--config", file, "--existing-keys", "keep"}); code != 2 {
		t.Errorf("serve = %d, want 2", code)
	}
	said := strings.ReplaceAll(errs.String(), file, "FILE")
	for _, want := range []string{
		"keyrot: error: FILE line 5: log.level: \"loud\"", "keyrot: error: FILE line 6: server.metrics",
		"keyrot: error: environment: KEYROT_WORKERS: workers: 1000 is not between", "keyrot: error: existing_keys: \"keep\"",
		"keyrot: error: environment: KEYROT_ROTATE_EVRY is not a setting",
		"FILE line 3: deactivate_after > rotate_every fails: 5m0s <= 10m0s; the old key would die before its successor is proven\n" +
			"keyrot: hint: \"keyrot plan\" draws",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("serve does not say %q:\n%s", want, said)
		}
	}
	if strings.HasSuffix(said, "of a schedule\n") {
		t.Errorf("the hint about schedules hangs on what is no schedule:\n%s", said)
	}
	errs.Reset()
	Run(t.Context(), e, []string{"get-key", "--user", "ci", "--endpoint", "http://127.0.0.1:1", "--no-agent"})
	if strings.Contains(errs.String(), "EVRY") {
		t.Errorf("somebody else's variable keeps a program from its key: %s", errs)
	}
}
