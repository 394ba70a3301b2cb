//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// TestRecover: the store is restored from an older copy, once with one key that
// it does not know, once with two. Nobody is served; the daemon takes nothing
// away; "keyrot recover" has everybody served again, and of two active keys it
// takes the one that was chosen, or none. A user that was enrolled after the copy
// was made is recovered if its key is named, and left as it is otherwise.
func TestRecover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	v, err := StartVersitygw(ctx, shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	s := newScene(t, v.IAM.URL, v.Root, "ann", "bob", "cid")
	run := func(args ...string) string {
		t.Helper()
		out, err := s.Run(ctx, append(args, schedule...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	files := []string{"keyrot.db", "keyrot.db-wal", "keyrot.db-shm"}
	run("rotate-once", "--user", "ann", "--user", "bob")
	copied := map[string][]byte{}
	for _, name := range files {
		copied[name], _ = os.ReadFile(filepath.Join(s.Dir, name))
	}
	run("rotate-once")                                        // enrols cid
	time.Sleep(2 * time.Second)                               // real servers, real time; IAM's dates have whole seconds
	for user, n := range map[string]int{"ann": 1, "bob": 2} { // as if rotation had gone on
		for id := range strings.FieldsSeq(s.ids(t, user)) {
			if _, err := s.admin.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &user, AccessKeyId: &id}); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			if _, err := s.admin.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(s.Dir, name), copied[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]string{"ann": s.ids(t, "ann"), "bob": s.ids(t, "bob"), "cid": s.ids(t, "cid")}
	for range 3 {
		_, _ = s.Run(ctx, append([]string{"rotate-once", "--wait", "1s"}, schedule...)...) // may fail
	}
	for user, ids := range before {
		if now := s.ids(t, user); now != ids {
			t.Errorf("before the recovery the keys of %s went from %s to %s", user, ids, now)
		}
	}
	run("recover", "--dry-run", "--make-room", strings.Fields(before["bob"])[0])
	if out, err := s.Run(ctx, append([]string{"recover", "bob", "--yes"}, schedule...)...); err == nil || s.ids(t, "bob") != before["bob"] {
		t.Errorf("recover of two active keys without a choice = %s, %v, keys %s", out, err, s.ids(t, "bob"))
	}
	run("recover", "--yes", "--make-room", strings.Fields(before["bob"])[0])
	if now := s.ids(t, "cid"); now != before["cid"] {
		t.Errorf("the keys of cid went from %s to %s, although nobody said that keyrot made them", before["cid"], now)
	}
	run("recover", "cid", "--yes", "--ours", before["cid"])
	if err := s.Serve(ctx, schedule...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, user := range s.users {
		p, err := s.given(s.getter(user), func(ctx context.Context, p Pair) error { return s.caller(ctx, v, p) })
		if err != nil || strings.Contains(before[user], p.AccessKeyId) {
			t.Errorf("%s is given %s, %v, want a new key that works", user, p.AccessKeyId, err)
		}
	}
}

func (s *scene) ids(t *testing.T, user string) string {
	t.Helper()
	out, err := s.admin.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range out.AccessKeyMetadata {
		ids = append(ids, aws.ToString(k.AccessKeyId))
	}
	return strings.Join(ids, " ")
}

// caller asks STS who the pair belongs to.
func (s *scene) caller(ctx context.Context, v *Versitygw, p Pair) error {
	return (&cloudScene{iamURL: v.IAM.URL}).works(ctx, p)
}
