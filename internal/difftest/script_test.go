package difftest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// target is an AWS under comparison.
type target struct {
	iam        rotate.IAM
	addUser    func(ctx context.Context, name, path string, tags map[string]string) error
	deleteUser func(ctx context.Context, name string) error // nil error or one whose text names DeleteConflict
	// differs holds the steps whose answer is known to differ.
	differs map[string]difference
}

type difference struct{ answer, reason string }

// notAsked is the answer to a question that would spoil those after it.
const notAsked = "(not asked)"

// session is one run of the script against one target.
type session struct {
	target
	u       rotate.User
	keys    []plan.Key // in the order of creation
	secrets []rotate.Secret
}

type step struct {
	name string
	ask  func(ctx context.Context, s *session) string
}

// key returns the nth key made. Should the creation have failed, an empty one
// keeps the script going.
func (s *session) key(n int) (string, rotate.Secret) {
	if n >= len(s.keys) {
		return "", rotate.Secret{}
	}
	return s.keys[n].ID, s.secrets[n]
}

// script is the list of questions. Steps depend on those before them.
var script = []step{
	{"look up a user that does not exist", func(ctx context.Context, s *session) string {
		_, err := s.iam.User(ctx, "nobody")
		return outcome(err)
	}},
	{"list the keys of a user that does not exist", func(ctx context.Context, s *session) string {
		_, err := s.iam.Keys(ctx, "nobody")
		return outcome(err)
	}},
	{"create a key for a user that does not exist", func(ctx context.Context, s *session) string {
		_, _, err := s.iam.Create(ctx, "nobody")
		return outcome(err)
	}},
	{"add and look up a user", func(ctx context.Context, s *session) string {
		if err := s.addUser(ctx, "diff", "/keyrot/", map[string]string{"keyrot:managed": "true"}); err != nil {
			return outcome(err)
		}
		var err error
		s.u, err = s.iam.User(ctx, "diff")
		return fmt.Sprint(outcome(err), " ", s.u.Name, s.u.Path, " id ", shape(s.u.ID, "AIDA"),
			" arn ", strings.HasPrefix(s.u.ARN, "arn:aws:iam::") && strings.HasSuffix(s.u.ARN, ":user/keyrot/diff"), " ", s.u.Tags)
	}},
	{"list no keys", list},
	{"create a key", create},
	{"list one key", list},
	{"ask when a new key was last used", func(ctx context.Context, s *session) string {
		id, _ := s.key(0)
		at, err := s.iam.LastUsed(ctx, id)
		return fmt.Sprint(outcome(err), " never ", at.IsZero())
	}},
	{"verify a key", verify(0)},
	{"verify a wrong secret", func(ctx context.Context, s *session) string {
		id, _ := s.key(0)
		return outcome(s.iam.Verify(ctx, s.u, id, rotate.NewSecret("wrong")))
	}},
	{"verify an unknown key", func(ctx context.Context, s *session) string {
		_, secret := s.key(0)
		return outcome(s.iam.Verify(ctx, s.u, "AKIAAAAAAAAAAAAAAAAA", secret))
	}},
	{"verify a key for another user", func(ctx context.Context, s *session) string {
		id, secret := s.key(0)
		return outcome(s.iam.Verify(ctx, rotate.User{Name: "x", ID: "AIDAX", ARN: s.u.ARN + "x"}, id, secret))
	}},
	{"create a second key", create},
	{"create a third key", create},
	{"deactivate the second key", set(1, plan.Inactive)},
	{"deactivate it again", set(1, plan.Inactive)},
	{"list an active and an inactive key", list},
	{"create a third key beside an inactive one", create},
	{"verify an inactive key", verify(1)},
	{"verify the other key", verify(0)},
	{"reactivate it", set(1, plan.Active)},
	{"verify it again", verify(1)},
	{"set a status that does not exist", set(1, "Bogus")},
	{"set the status of an unknown key", func(ctx context.Context, s *session) string {
		return outcome(s.iam.SetStatus(ctx, "diff", "AKIAAAAAAAAAAAAAAAAA", plan.Inactive))
	}},
	{"delete a user that has keys", func(ctx context.Context, s *session) string { return outcome(s.deleteUser(ctx, "diff")) }},
	{"delete an active key", remove(0)},
	{"delete it again", remove(0)},
	{"verify a deleted key", verify(0)},
	{"ask when a deleted key was last used", func(ctx context.Context, s *session) string {
		id, _ := s.key(0)
		_, err := s.iam.LastUsed(ctx, id)
		return outcome(err)
	}},
	{"set the status of a deleted key", set(0, plan.Active)},
	{"list the key that is left", list},
	{"create a key in the free slot", create},
	{"delete the second key", remove(1)},
	{"delete the third key", remove(2)},
	{"delete the user", func(ctx context.Context, s *session) string { return outcome(s.deleteUser(ctx, "diff")) }},
	{"list the keys of a deleted user", list},
	{"delete a key of a deleted user", remove(0)},
	{"add the user again: another id", func(ctx context.Context, s *session) string {
		if err := s.addUser(ctx, "diff", "/", nil); err != nil {
			return outcome(err)
		}
		u, err := s.iam.User(ctx, "diff")
		return fmt.Sprint(outcome(err), " same id ", u.ID == s.u.ID)
	}},
	{"delete it again, too", func(ctx context.Context, s *session) string { return outcome(s.deleteUser(ctx, "diff")) }},
}

func list(ctx context.Context, s *session) string {
	keys, err := s.iam.Keys(ctx, "diff")
	if err != nil {
		return outcome(err)
	}
	var got []string
	for _, k := range keys {
		n := slices.IndexFunc(s.keys, func(m plan.Key) bool { return m.ID == k.ID })
		same := n >= 0 && k.Created.Equal(s.keys[n].Created)
		got = append(got, fmt.Sprintf("#%d %s created as told %t", n, k.Status, same))
	}
	slices.Sort(got)
	return strings.Join(got, ", ")
}

func create(ctx context.Context, s *session) string {
	k, secret, err := s.iam.Create(ctx, "diff")
	if err != nil {
		return outcome(err)
	}
	s.keys, s.secrets = append(s.keys, k), append(s.secrets, secret)
	return fmt.Sprint("ok ", k.Status, " id ", shape(k.ID, "AKIA"), " secret ", len(secret.Reveal()),
		" whole seconds ", k.Created.Nanosecond() == 0, " recent ", time.Since(k.Created).Abs() < time.Minute)
}

func verify(n int) func(context.Context, *session) string {
	return func(ctx context.Context, s *session) string {
		id, secret := s.key(n)
		return outcome(s.iam.Verify(ctx, s.u, id, secret))
	}
}

func set(n int, status plan.Status) func(context.Context, *session) string {
	return func(ctx context.Context, s *session) string {
		id, _ := s.key(n)
		return outcome(s.iam.SetStatus(ctx, "diff", id, status))
	}
}

func remove(n int) func(context.Context, *session) string {
	return func(ctx context.Context, s *session) string {
		id, _ := s.key(n)
		return outcome(s.iam.Delete(ctx, "diff", id))
	}
}

// outcome words an error as the rotator sees it.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, rotatetest.ErrDeleteConflict), strings.Contains(err.Error(), "DeleteConflict"):
		return "delete conflict"
	}
	for _, s := range []error{rotate.ErrNoUser, rotate.ErrNoKey, rotate.ErrLimit, rotate.ErrThrottled, rotate.ErrDenied, rotate.ErrRefused} {
		if errors.Is(err, s) {
			return s.Error()
		}
	}
	if strings.Contains(err.Error(), "belongs to") {
		return "somebody else's"
	}
	return "unknown"
}

// shape says what an id looks like, its length apart: AWS's have 20 or 21
// characters and promise neither.
func shape(id, prefix string) string {
	if !strings.HasPrefix(id, prefix) {
		return "not " + prefix
	}
	return prefix
}

// compare runs the script against the in-memory AWS and against the target.
func compare(t *testing.T, other target) {
	t.Helper()
	mem := &rotatetest.AWS{Seed: 1}
	ref := &session{target: target{
		iam: mem,
		addUser: func(_ context.Context, name, path string, tags map[string]string) error {
			mem.AddUser(name, path, tags)
			return nil
		},
		deleteUser: func(_ context.Context, name string) error { return mem.DeleteUser(name) },
	}}
	got := &session{target: other}
	known := 0
	for _, q := range script {
		d, differs := other.differs[q.name]
		want, have := q.ask(t.Context(), ref), notAsked
		if d.answer != notAsked {
			have = q.ask(t.Context(), got)
		}
		if differs {
			known++
			if want == d.answer {
				t.Errorf("%s: no longer differs (%s); drop it from the list", q.name, d.reason)
			}
			want = d.answer
		}
		if have != want {
			t.Errorf("%s: %q, want %q", q.name, have, want)
		}
	}
	if known != len(other.differs) {
		t.Errorf("%d of %d listed differences are steps of the script", known, len(other.differs))
	}
}
