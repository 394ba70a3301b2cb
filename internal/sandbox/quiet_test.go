//go:build !nosandbox

package sandbox_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/keyrot/keyrot/internal/sandbox"
)

const childEnv = "KEYROT_TEST_SANDBOX_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := session(context.Background()); err != nil {
		panic(err)
	}
}

// session uses a sandbox, with calls that succeed and calls that fail.
func session(ctx context.Context) error {
	a, err := sandbox.Start(ctx, sandbox.Options{Users: []string{"app"}})
	if err != nil {
		return err
	}
	cfg, err := a.Config(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"app", "nobody"} {
		_, _ = iam.NewFromConfig(cfg).CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String(name)})
	}
	return a.Close()
}

// Nothing of versitygw may come out on the program's stdout and stderr: this
// test runs itself and listens.
func TestQuiet(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("the sandbox says %q, %v", out, err)
	}
}
