//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
)

// TestDeployDeclined: whoever does not say yes finds the account as it was, or is
// told what stays.
func TestDeployDeclined(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	ctx := t.Context()
	answer := func(text string, args ...string) (string, int) {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "keyrot"), append([]string{
			"deploy", "--admin-email", "admin@example.com", "--path-prefix", "/machines/", "--tag", "keyrot:managed=true", "--function-zip", s.zip,
		}, args...)...)
		cmd.Env, cmd.Stdin = s.env(), strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		} else if ok {
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	out, code := answer("no\n")
	if code != 2 || !strings.Contains(out, "not confirmed, nothing was changed") {
		t.Errorf("deploy that is declined = %d\n%s", code, out)
	}
	for _, want := range []string{"stack iam-key-rotation is made", "bucket ", "asked to verify admin@example.com"} {
		if !strings.Contains(out, want) {
			t.Errorf("the question does not say %q:\n%s", want, out)
		}
	}
	if made := s.made(ctx); len(made) > 0 {
		t.Errorf("after it was declined there are %q", made)
	}
	if out, code := answer("yes\n"); code != 0 {
		t.Fatalf("deploy that is confirmed, once = %d\n%s", code, out)
	}
	if made := s.made(ctx); len(made) != 3 {
		t.Errorf("a deploy makes %q, want bucket, stack and address", made)
	}
	out, code = answer("no\n", "--log-retention", "30")
	if code != 2 || !strings.Contains(out, "the stack was not changed; the program that was uploaded to bucket") {
		t.Errorf("an update that is declined = %d, want that it says what stays\n%s", code, out)
	}
	out, code = answer("no\n", "--api-users", "*", "--allow-from", "0.0.0.0/0")
	if code != 2 {
		t.Errorf("another update that is declined = %d\n%s", code, out)
	}
	if _, err := s.Run(ctx, "cleanup", "--yes", "--delete-secrets"); err != nil {
		t.Errorf("cleanup after it = %v", err)
	}
	b := s3.NewFromConfig(config(s.moto.URL, anyKey), func(o *s3.Options) { o.UsePathStyle = true })
	bucket := "keyrot-artefacts-123456789012-" + Region // of a deploy that ended before it had a stack
	if _, err := b.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(ctx, "cleanup", "--yes"); err != nil {
		t.Errorf("cleanup of a bucket alone = %v", err)
	}
	if _, err := s.Run(ctx, "cleanup", "--yes"); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("cleanup of nothing = %v, want nothing to do", err)
	}
}

// made names what a deploy makes first.
func (s *deployScene) made(ctx context.Context) (names []string) {
	s.t.Helper()
	cfg := config(s.moto.URL, anyKey)
	buckets, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range buckets.Buckets {
		names = append(names, "bucket "+*b.Name)
	}
	stacks, err := cloudformation.NewFromConfig(cfg).ListStacks(ctx, &cloudformation.ListStacksInput{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, st := range stacks.StackSummaries {
		names = append(names, "stack "+*st.StackName)
	}
	_, err = sesv2.NewFromConfig(cfg).GetEmailIdentity(ctx, &sesv2.GetEmailIdentityInput{EmailIdentity: aws.String("admin@example.com")})
	if err == nil {
		names = append(names, "the address")
	}
	return names
}
