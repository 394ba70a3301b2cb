package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/harden"
)

// TestServeWritesToItsStateOnly runs the server with HOME and TMPDIR that
// cannot be written to, in an empty folder that must stay empty, and looks at
// what the process allows others.
func TestServeWritesToItsStateOnly(t *testing.T) {
	t.Parallel()
	if os.Getenv("KEYROT_TEST_SERVE") != "" {
		harden.Process()
		os.Exit(Run(t.Context(), Env{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now},
			strings.Split(os.Getenv("KEYROT_TEST_SERVE"), " ")))
	}
	state, cwd := t.TempDir(), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestServeWritesToItsStateOnly$")
	cmd.Dir = cwd
	cmd.Env = []string{
		"HOME=/proc", "TMPDIR=/proc", "XDG_STATE_HOME=" + state, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_ENDPOINT_URL=http://127.0.0.1:1", // nobody answers
		"KEYROT_TEST_SERVE=serve --users ci --listen 127.0.0.1:0",
	}
	var talk lines
	cmd.Stderr = &talk
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	talk.until, talk.reached = "serving on", make(chan struct{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-talk.reached:
	case <-ctx.Done():
		t.Errorf("the server did not start: %s", talk.text)
	}
	if limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "limits")); err == nil {
		for line := range strings.SplitSeq(string(limits), "\n") {
			if f := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0") {
				t.Errorf("core dumps are possible: %s", line)
			}
		}
	} else if os.Geteuid() == 0 {
		t.Error(err)
	}
	cancel()
	_ = cmd.Wait()
	if left, err := os.ReadDir(cwd); err != nil || len(left) > 0 {
		t.Errorf("left in the working folder: %v, %v", left, err)
	}
	made, err := filepath.Glob(filepath.Join(state, "*"))
	if err != nil || len(made) != 1 || filepath.Base(made[0]) != "keyrot" {
		t.Errorf("made in the state folder: %v, %v, want keyrot only\n%s", made, err, talk.text)
	}
}

// lines tells when a text was written.
type lines struct {
	text    []byte
	until   string
	reached chan struct{}
	told    bool
}

func (l *lines) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	if !l.told && strings.Contains(string(l.text), l.until) {
		l.told = true
		close(l.reached)
	}
	return len(p), nil
}
