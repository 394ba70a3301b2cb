package liveness

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// processVariable makes the test binary a process that registers and lives until
// it is killed.
const processVariable = "KEYROT_TEST_LIVENESS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(processVariable); dir != "" {
		if _, err := Register(dir, "host/1/victim"); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("ready\n")
		select {}
	}
	os.Exit(m.Run())
}

// clock is a time that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func registered(t *testing.T, dir, name string, c *clock) *Registry {
	t.Helper()
	r, err := Register(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	r.now = c.now
	return r
}

// TestAKilledProcessIsGone: as long as it lives, also stopped, it is not; and of two
// processes that find it gone one is told so.
func TestAKilledProcessIsGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "owners")
	c := &clock{time.Now()}
	heir, other := registered(t, dir, "host/2/heir", c), registered(t, dir, "host/3/other", c)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), processVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := heir.Dead(); len(got) > 0 {
		t.Errorf("Dead() with everybody alive = %q", got)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := heir.Dead(); len(got) > 0 {
		t.Errorf("Dead() within the second = %q, want what was seen before", got)
	}
	c.pass(lookEvery)
	if got := heir.Dead(); !slices.Equal(got, []string{"host/1/victim"}) {
		t.Errorf("Dead() = %q, want the victim", got)
	}
	if got := other.Dead(); len(got) > 0 {
		t.Errorf("another process: Dead() = %q: both would act in its place", got)
	}
	if err := heir.Close(); err != nil {
		t.Error(err)
	}
	c.pass(lookEvery)
	if got := other.Dead(); !slices.Equal(got, []string{"host/1/victim"}) {
		t.Errorf("after the heir has left: Dead() = %q, want the victim", got)
	}
	c.pass(keep + lookEvery)
	if got := other.Dead(); len(got) > 0 {
		t.Errorf("after %s: Dead() = %q", keep, got)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the folder holds %v, %v, want nothing", left, err)
	}
}

// TestWhoLeavesIsNotGone: what it holds ends by itself.
func TestWhoLeavesIsNotGone(t *testing.T) {
	t.Parallel()
	c := &clock{time.Now()}
	dir := t.TempDir()
	a, b := registered(t, dir, "a", c), registered(t, dir, "b", c)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got := b.Dead(); len(got) > 0 {
		t.Errorf("Dead() = %q", got)
	}
}

func TestRegisterFails(t *testing.T) {
	t.Parallel()
	c := &clock{time.Now()}
	dir := t.TempDir()
	registered(t, dir, "a", c)
	if _, err := Register(dir, "a"); err == nil {
		t.Error("Register accepts a name that another process has")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Register(filepath.Join(file, "owners"), "b"); err == nil {
		t.Error("Register accepts a folder that cannot be made")
	}
}
