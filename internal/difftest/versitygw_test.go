//go:build !nosandbox

package difftest

import (
	"testing"

	"github.com/keyrot/keyrot/internal/sandbox"
)

// versitygw has no known differences.
func TestVersitygwAnswersLikeTheSimulation(t *testing.T) {
	t.Parallel()
	sb, err := sandbox.Start(t.Context(), sandbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	}()
	cfg, err := sb.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compare(t, sdkTarget(cfg, nil))
}
