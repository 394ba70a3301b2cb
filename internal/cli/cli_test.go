package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// env returns an Env whose home is a temporary folder, and its streams.
func testEnv(t *testing.T, vars map[string]string) (e Env, out, errs *bytes.Buffer) {
	t.Helper()
	home := t.TempDir()
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return Env{Out: out, Err: errs, Now: func() time.Time { return t0 }, Getenv: func(name string) string {
		switch name {
		case "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME":
			return home
		}
		return vars[name]
	}}, out, errs
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing went wrong", nil, 0},
		{"something failed", errors.New("x"), 1},
		{"nobody answers", fmt.Errorf("x: %w", client.ErrUnreachable), 1},
		{"no key right now", api.FromAnswer(503, api.Error{Code: "no_key_ready"}), 1},
		{"bad usage", usagef("x"), 2},
		{"a wrong API key", api.FromAnswer(403, api.Error{Code: "forbidden"}), 2},
		{"nobody is selected", rotate.ErrNoUsers, 2},
		{"foreign keys", &rotate.ForeignKeysError{User: "x"}, 2},
		{"a store of a newer version", fmt.Errorf("x: %w", sqlite.ErrNewer), 2},
		{"a full disk", fmt.Errorf("x: %w", sqlite.ErrFull), 2},
		{"a lost key file", fmt.Errorf("x: %w", seal.ErrKeyMissing), 2},
		{"some users failed", &marked{errors.New("x"), errSome}, 3},
		{"nothing to do", &marked{errors.New("x"), errNothing}, 4},
		{"a user that is not managed", fmt.Errorf("x: %w", rotate.ErrNotManaged), 2},
		{"a key that nobody knows", fmt.Errorf("x: %w", rotate.ErrNotHeld), 2},
		{"a file that others can read", fmt.Errorf("x: %w", disk.ErrExposed), 2},
		{"nothing to roll back to", fmt.Errorf("x: %w", rotate.ErrNothingToRollBack), 4},
		{"an order that was dropped", fmt.Errorf("x: %w", rotate.ErrOrderPointless), 1},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("%s: exitCode(%v) = %d, want %d", tc.name, tc.err, got, tc.want)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"each problem has a line", usage(errors.Join(errors.New("a"), errors.New("b")), "do c"), "keyrot: error: a\nkeyrot: error: b\nkeyrot: hint: do c\n"},
		{"an error's own advice wins", usage(hint.Wrap(errors.New("a"), "inner"), "outer"), "keyrot: error: a\nkeyrot: hint: inner\n"},
		{"known errors have advice", rotate.ErrNoUsers, "keyrot: error: no user is selected\nkeyrot: hint: set users.names, users.path_prefix or users.tag, or ask for --all-users\n"},
		{"an interruption is no error", fmt.Errorf("x: %w", context.Canceled), "keyrot: interrupted\n"},
		{"success says nothing", nil, ""},
	} {
		var b bytes.Buffer
		report(&b, tc.err)
		if diff := cmp.Diff(tc.want, b.String()); diff != "" {
			t.Errorf("%s: report (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	foreign := &rotate.ForeignKeysError{User: "x"}
	for _, tc := range []struct {
		name string
		errs []error
		want int
	}{
		{"all is well", []error{nil, nil}, 0},
		{"one of two failed", []error{nil, errors.New("x")}, 3},
		{"the only user failed in AWS", []error{errors.New("x")}, 3},
		{"the only user has foreign keys", []error{foreign}, 2},
		{"one of two has foreign keys", []error{foreign, nil}, 3},
	} {
		var rep rotate.Report
		for _, err := range tc.errs {
			rep.Users = append(rep.Users, rotate.UserReport{User: "u", Err: err})
		}
		if got := exitCode(verdict(rep)); got != tc.want {
			t.Errorf("%s: exit code %d, want %d", tc.name, got, tc.want)
		}
	}
	some := rotate.Report{Users: []rotate.UserReport{{User: "u"}, {User: "v", Err: foreign}}}
	if got := hintFor(verdict(some)); !strings.HasPrefix(got, "v: find out who uses them") {
		t.Errorf("hint = %q, want the failed user's", got)
	}
}

func TestFlagsReachTheConfiguration(t *testing.T) {
	t.Parallel()
	var got rotateOptions
	cmd := newRotateOnceCmd(func(_ context.Context, o rotateOptions) error { got = o; return nil })
	cmd.Flags().String("config", "", "")
	cmd.Flags().String("output", "text", "")
	cmd.SetArgs([]string{"--user", "a", "--user", "b", "--force", "--users", "a,b", "--users", "c", "--rotate-every", "1h", "--all-users"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"users.names": []string{"a", "b", "c"}, "rotate_every": "1h", "users.all": "true"}
	if diff := cmp.Diff(want, got.Flags); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	if !got.Force || got.DryRun || len(got.Users) != 2 {
		t.Errorf("options = %+v", got)
	}
	e, _, _ := testEnv(t, nil)
	if cfg, err := e.load(got.common); err != nil || cfg.RotateEvery != time.Hour || !cfg.Users.All || len(cfg.Users.Names) != 3 {
		t.Errorf("load = %+v, %v", cfg.Users, err)
	}
}

func TestEveryFlagNamesAKey(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	root, _ := newRoot(e)
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Example == "" && cmd.Name() != "completion" { // which is cobra's own
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		if cmd.Name() == "serve" || cmd.Name() == "rotate-once" || cmd.Name() == "get-key" {
			for _, key := range []string{"schedule", "server.listen", "users.names", "store.path", "endpoint"} {
				if _, err := config.Load(config.Source{File: os.DevNull, Getenv: e.Getenv, Flags: map[string]any{key: "x"}}); err != nil {
					t.Errorf("%s: key %s: %v", cmd.Name(), key, err)
				}
			}
		}
	}
}

// TestAPassOverAFakeAWS runs the joined parts against the in-memory AWS.
func TestAPassOverAFakeAWS(t *testing.T) {
	t.Parallel()
	e, out, _ := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s"}})
	if err != nil {
		t.Fatal(err)
	}
	fake := &rotatetest.AWS{}
	u := fake.AddUser("ci", "/", nil)
	s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: func(context.Context) ([]rotate.User, error) { return []rotate.User{u}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := s.server.Health.Health(t.Context()); err != nil || h != (api.Health{}) {
		t.Errorf("Health of an empty store = %+v, %v", h, err)
	}
	rep, err := s.rotator.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.conclude(t.Context(), rotatetest.Clock(), rotateOptions{}, rep); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"USER  STEP", "ci    create", "ci    promote", "ci    wait"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out)
		}
	}
	out.Reset()
	if err := e.showReport(rotatetest.Clock(), rotateOptions{common: common{Output: "json"}}, rep); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("JSON report = %v: %s", err, out)
	}
	c, err := s.server.Credentials.Give(t.Context(), "ci", rotate.Recipient{Caller: "test"})
	if err != nil || fake.Use(c.KeyID, c.Secret.Reveal()) != nil {
		t.Errorf("Give = %s, %v, want a key that works", c.KeyID, err)
	}
	if err := s.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if code := Run(t.Context(), e, []string{"status"}); code != 0 || !strings.Contains(out.String(), api.ShortKey(c.KeyID)) || strings.Contains(out.String(), c.KeyID) {
		t.Errorf("status = %d:\n%s", code, out)
	}
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	cfg, err := e.loadValid(common{File: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	held := plan.Held{ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current, Slot: t0, Created: t0, Promoted: t0, Promise: t0.Add(12 * time.Minute)}
	entry := rotate.Entry{Record: plan.Record{User: "ci", Keys: []plan.Held{held}}, Due: t0.Add(10 * time.Minute)}
	for _, tc := range []struct {
		name string
		edit func(*plan.Record)
		at   time.Duration
		want string
	}{
		{"a fresh key", nil, time.Minute, "ok, next look in 9m"},
		{"a late successor", nil, time.Hour, "overdue for"},
		{"a paused user", func(r *plan.Record) { r.Pause = &plan.Pause{Since: t0} }, time.Hour, "paused"},
		{"a failure", func(r *plan.Record) { r.Error = "access denied" }, time.Minute, "last error: access denied"},
		{"no key at all", func(r *plan.Record) { r.Keys = nil; r.Waiting = plan.NoRoom; r.Enrolled = t0 }, time.Minute, "waiting: no_room"},
		{"times of a damaged record", func(r *plan.Record) {
			r.Keys[0].Created, r.Enrolled = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Time{}
		}, time.Minute, "ok, next look in 9m"},
	} {
		x := entry
		x.Record = entry.Record.Clone()
		if tc.edit != nil {
			tc.edit(&x.Record)
		}
		rows := rowsOf(statusOf(x, cfg, t0.Add(tc.at)), t0.Add(tc.at))
		if got := rows[0][4]; !strings.Contains(got, tc.want) {
			t.Errorf("%s: state = %q, want it to hold %q", tc.name, got, tc.want)
		}
	}
}

// An API key whose record is damaged hides no other from the list.
func TestADamagedAPIKeyHidesNoOther(t *testing.T) {
	t.Parallel()
	e, out, errs := testEnv(t, nil)
	for range 2 {
		if code := Run(t.Context(), e, []string{"api-key", "create", "--init", "--users", "ci", "-o", "json"}); code != 0 {
			t.Fatalf("create = %d", code)
		}
	}
	cfg, err := e.loadValid(common{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := openStore(t.Context(), cfg, e.Getenv, rotatetest.Clock())
	if err != nil {
		t.Fatal(err)
	}
	names, err := st.SettingNames(t.Context(), "apikey/")
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	_, version, err := st.Setting(t.Context(), names[0])
	if err == nil {
		_, err = st.SaveSetting(t.Context(), names[0], []byte("x"), version)
	}
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	bad, good := strings.TrimPrefix(names[0], "apikey/"), strings.TrimPrefix(names[1], "apikey/")
	if code := Run(t.Context(), e, []string{"api-key", "list"}); code == 0 || !strings.Contains(out.String(), good) || !strings.Contains(errs.String(), bad) {
		t.Errorf("list = %d:\n%s%s\nwant %s, and that %s cannot be read", code, out, errs, good, bad)
	}
}

func TestRevokeTwice(t *testing.T) {
	t.Parallel()
	e, out, _ := testEnv(t, nil)
	if code := Run(t.Context(), e, []string{"api-key", "create", "--init", "--users", "ci", "-o", "json"}); code != 0 {
		t.Fatalf("create = %d", code)
	}
	var made struct{ ID string }
	if err := json.Unmarshal(out.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 4} {
		if code := Run(t.Context(), e, []string{"api-key", "revoke", made.ID}); code != want {
			t.Errorf("revoke = %d, want %d", code, want)
		}
	}
}

func TestDryRunLeavesNoTrace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config.Config{Store: config.Store{Path: filepath.Join(dir, "keyrot.db")}}
	undo, err := withoutTrace(&cfg)
	if err != nil || filepath.Dir(cfg.Store.Path) == dir {
		t.Fatalf("withoutTrace = %v, store %s, want one elsewhere", err, cfg.Store.Path)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(cfg.Store.Path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after undo: %v, want the folder gone", err)
	}
	there := filepath.Join(dir, "there.db")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Store.Path = there
	if _, err := withoutTrace(&cfg); err != nil || cfg.Store.Path != there {
		t.Errorf("withoutTrace of a store that is there = %s, %v", cfg.Store.Path, err)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 36 * time.Hour: "1d12h", -time.Minute: "-1m", 400 * time.Millisecond: "400ms", 90 * 24 * time.Hour: "90d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %q, want %q", d, got, want)
		}
	}
}

// TestEveryProblemOfAFileIsTold: unknown keys do not hide values that cannot be.
func TestEveryProblemOfAFileIsTold(t *testing.T) {
	t.Parallel()
	e, _, errs := testEnv(t, nil)
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("users: {names: [ci], nme: x}\nrotate_every: 10m\ndeactivate_after: 5m\non_in_use: maybe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code := Run(t.Context(), e, []string{"rotate-once", "--config", file})
	for _, want := range []string{`unknown key "users.nme"`, "deactivate_after > rotate_every", "on_in_use"} {
		if code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("rotate-once = %d, want 2 and %q in\n%s", code, want, errs)
		}
	}
}
