//go:build !nosandbox

package difftest

import (
	"testing"

	"github.com/keyrot/keyrot/internal/sandbox"
	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/rotate"
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

// versitygw has no GetAccountAuthorizationDetails: tags are read one by one.
func TestSelectionOnVersitygw(t *testing.T) {
	t.Parallel()
	sb, err := sandbox.Start(t.Context(), sandbox.Options{Dir: t.TempDir(), Users: []string{"a", "b", "c"}})
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
	a := awsiam.New(cfg, &rotate.Clock{})
	a.PageSize = 2
	users, err := a.Select(awsiam.Selection{Tag: sandbox.ManagedTag + "=true", Exclude: []string{"b"}})(t.Context())
	if err != nil || len(users) != 2 || users[0].Name != "a" || users[1].Name != "c" {
		t.Errorf("Select = %v, %v, want a and c", users, err)
	}
}
