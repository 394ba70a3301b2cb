//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"slices"
	"strings"
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
	s.work(3, nil)
	s.work(s.seen()+4, func(ctx context.Context) {
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

// TestRenamedUserByName has the selection name the user by the name from before
// it was renamed: the user is served on, and the advice that keyrot gives, to put
// the new name into users.names, is all that it takes for rotation to resume.
func TestRenamedUserByName(t *testing.T) {
	t.Parallel()
	s, _ := versity(t, "app", "batch")
	s.serve()
	s.work(3, nil)
	before := s.ids(t, "app")
	if _, err := s.admin.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("app"), NewUserName: aws.String("app-new")}); err != nil {
		t.Fatal(err)
	}
	s.work(1, func(ctx context.Context) { // app is served, while batch rotates
		for first := s.ids(t, "batch"); ctx.Err() == nil && s.common(t, "batch", first); {
			time.Sleep(200 * time.Millisecond) // real servers, real time
		}
	})
	if _, err := s.Run(t.Context(), "rotate-once", "--user", "app"); err == nil || !strings.Contains(err.Error(), "users.names") {
		t.Errorf("rotate-once of the old name: %v, want advice that names users.names", err)
	}
	if !s.common(t, "app-new", before) {
		t.Errorf("the user had %s and has %s", before, s.ids(t, "app-new"))
	}
	s.Stop()
	s.Env = append(s.Env, "KEYROT_USERS_NAMES=app-new,batch") // as was advised
	s.serve()
	s.work(s.seen()+4, func(ctx context.Context) {
		for ctx.Err() == nil && s.common(t, "app-new", before) {
			time.Sleep(200 * time.Millisecond)
		}
	})
	if s.common(t, "app-new", before) {
		t.Errorf("the user still has a key of before the renaming: %s", s.ids(t, "app-new"))
	}
}

// common reports whether the user has one of the keys.
func (s *scene) common(t *testing.T, user, ids string) bool {
	return slices.ContainsFunc(strings.Fields(s.ids(t, user)), func(id string) bool { return slices.Contains(strings.Fields(ids), id) })
}
