package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// shell runs commands as a person would, over an AWS in memory and a store in a
// temporary folder.
type shell struct {
	*testing.T
	AWS       *rotatetest.AWS
	Env       Env
	File      string          // keyrot.yaml
	Ctx       context.Context // of Run; nil: the test's
	users     []rotate.User
	out, errs *bytes.Buffer
}

// newShell has the users there and selected, and the configuration, which
// becomes keyrot.yaml beside the names of the users.
func newShell(t *testing.T, yaml string, users ...string) *shell {
	t.Helper()
	s := &shell{T: t, AWS: &rotatetest.AWS{}, File: filepath.Join(t.TempDir(), "keyrot.yaml")}
	s.Env, s.out, s.errs = testEnv(t, nil)
	if len(users) > 0 {
		yaml += "\nusers:\n  names:\n"
	}
	for _, u := range users {
		s.users = append(s.users, s.AWS.AddUser(u, "/", nil))
		yaml += "    - " + u + "\n"
	}
	if err := os.WriteFile(s.File, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Env.Now = time.Now
	s.Env.Connect = func(_ context.Context, cfg config.Config) (cloud, error) {
		m := &matches{cfg: cfg}
		return cloud{
			IAM: s.AWS, Clock: rotatetest.Clock(), Quick: true, Matches: m,
			Select: m.watch(func(context.Context) ([]rotate.User, error) { return s.users, nil }),
		}, nil
	}
	return s
}

// Run runs a command and returns its exit code, what it printed, and what it
// said beside that.
func (s *shell) Run(args ...string) (code int, out, errs string) {
	s.Helper()
	s.out.Reset()
	s.errs.Reset()
	ctx := s.Ctx
	if ctx == nil {
		ctx = s.Context()
	}
	code = Run(ctx, s.Env, append([]string{"--config", s.File}, args...))
	return code, s.out.String(), s.errs.String()
}

// Succeed runs a command that must succeed, and returns what it printed.
func (s *shell) Succeed(args ...string) (out, errs string) {
	s.Helper()
	code, out, errs := s.Run(args...)
	if code != 0 {
		s.Fatalf("keyrot %s = %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out, errs
}

// Refused runs a command that must end with the code and say want, and fails the
// test if it does not.
func (s *shell) Refused(code int, want string, args ...string) {
	s.Helper()
	if got, out, errs := s.Run(args...); got != code || !strings.Contains(errs, want) {
		s.Errorf("keyrot %s = %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, want, out, errs)
	}
}

// Opened gives f the store.
func (s *shell) Opened(f func(store) error) {
	s.Helper()
	cfg, err := s.Env.load(common{File: s.File})
	if err != nil {
		s.Fatal(err)
	}
	st, err := openStore(s.Context(), cfg, s.Env.Getenv, rotatetest.Clock())
	if err == nil {
		err = errors.Join(f(st), st.Close())
	}
	if err != nil {
		s.Fatal(err)
	}
}

// Record returns what the store knows of a user.
func (s *shell) Record(user string) (r plan.Record) {
	s.Helper()
	s.Opened(func(st store) error {
		e, err := st.Load(s.Context(), user)
		r = e.Record
		return err
	})
	return r
}

// Strike has IAM answer every call with err from now on; nil ends that.
func (s *shell) Strike(err error) {
	s.AWS.Change(func(a *rotatetest.AWS) {
		if a.Spells = nil; err != nil {
			a.Spells = []rotatetest.Spell{{To: time.Now().Add(time.Hour), IAM: true, Err: err}}
		}
	})
}
