//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// TestRenamedUser renames a user while its client works: the client asks by the
// name it knows, is never refused, and gets new keys; nothing is called foreign.
func TestRenamedUser(t *testing.T) {
	t.Parallel()
	s, _ := versity(t, "app", "batch") // moto does not rename the keys along with the user
	s.Env = append(s.Env, "KEYROT_USERS_NAMES=", "KEYROT_USERS_ALL=true")
	s.serve()
	s.work(2*time.Minute, 3, nil)
	s.work(3*time.Minute, s.seen()+4, func(ctx context.Context) {
		if _, err := s.admin.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("app"), NewUserName: aws.String("app-new")}); err != nil {
			t.Fatal(err)
		}
	})
	if out, err := s.Run(t.Context(), "doctor", "-o", "json"); bytes.Contains(out, []byte("does not hold")) {
		t.Errorf("doctor calls a held key foreign (%v):\n%s", err, out)
	}
	out, err := s.Run(t.Context(), "users", "enroll", "--dry-run", "-o", "json")
	if err != nil || bytes.Contains(out, []byte("did not create")) {
		t.Errorf("users enroll --dry-run: %v\n%s", err, out)
	}
	s.Stop()
	if out, err := s.Run(t.Context(), "audit", "verify"); err != nil {
		t.Errorf("the audit log: %v\n%s", err, out)
	}
}
