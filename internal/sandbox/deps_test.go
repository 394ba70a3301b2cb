package sandbox_test

import (
	"os/exec"
	"strings"
	"testing"
)

// With the tag nosandbox nothing of the embedded AWS is linked into the
// command.
func TestNoSandboxLeavesItOut(t *testing.T) {
	t.Parallel()
	const embedded = "github.com/versity/versitygw"
	for _, row := range []struct {
		tags string
		want bool
	}{{"nosandbox", false}, {"", true}} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", row.tags, "../../cmd/keyrot").Output()
		if err != nil {
			t.Fatalf("go list -tags %q: %v", row.tags, err)
		}
		if got := strings.Contains(string(out), embedded); got != row.want {
			t.Errorf("go list -deps -tags %q mentions %s: %t, want %t", row.tags, embedded, got, row.want)
		}
	}
}
