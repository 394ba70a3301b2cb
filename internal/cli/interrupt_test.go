package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// when calls do once the text is written.
type when struct {
	io.Writer
	text string
	do   func()
}

func (w *when) Write(p []byte) (int, error) {
	if w.text != "" && strings.Contains(string(p), w.text) {
		w.text = ""
		w.do()
	}
	return w.Writer.Write(p)
}

// silent never answers, as somebody who has left the terminal.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	<-time.After(time.Minute) // a read of a terminal goes on
	return 0, io.EOF
}

// Interrupt has the next command be interrupted once it says text.
func (s *shell) Interrupt(text string) {
	ctx, cancel := context.WithCancelCause(s.Context())
	s.Ctx, s.Env.In = ctx, silent{ctx}
	s.Env.Err = &when{s.errs, text, func() { cancel(interruption{syscall.SIGINT}) }}
}

func TestExitCodesOfSignals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		signal syscall.Signal
		err    error
		code   int
		say    string
	}{
		{"a daemon that was told to end", syscall.SIGTERM, nil, 0, ""},
		{"Ctrl-C", syscall.SIGINT, fmt.Errorf("asking IAM: %w", context.Canceled), 130, "keyrot: interrupted\n"},
		{"SIGTERM", syscall.SIGTERM, context.Canceled, 143, "keyrot: terminated\n"},
		{"a failure on the way out", syscall.SIGTERM, errors.New("x"), 143, "keyrot: error: x\n"},
		{"a child's code is its own", syscall.SIGINT, childError(7), 7, ""},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(interruption{tc.signal})
		err := ended(ctx, tc.err)
		var said strings.Builder
		report(&said, err)
		if code := exitCode(err); code != tc.code || said.String() != tc.say {
			t.Errorf("%s: exit code %d, %q, want %d, %q", tc.name, code, said.String(), tc.code, tc.say)
		}
	}
	told, cancel := context.WithCancelCause(t.Context())
	cancel(interruption{syscall.SIGTERM})
	if err := toldToEnd(told, fmt.Errorf("opening the store: %w", context.Canceled)); err != nil {
		t.Errorf("a daemon that is told to end while it starts: %v, want success", err)
	}
	if err := toldToEnd(told, errSome); err == nil {
		t.Error("a daemon that fails on its way out succeeds")
	}
	if err := ended(t.Context(), errSome); err != errSome { //nolint:errorlint // the same
		t.Errorf("without a signal: %v", err)
	}
}

func TestCtrlCEndsPrompts(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci", "other")
	s.Succeed("users", "enroll", "other")
	if _, err := s.AWS.Plant("ci"); err != nil { // whose key is it?
		t.Fatal(err)
	}
	s.Interrupt("Type yes")
	if code, _, errs := s.Run("recover"); code != 130 || !strings.Contains(errs, "keyrot: interrupted, 1 of 1 users not reached") {
		t.Errorf("recover, interrupted at its question = %d\n%s", code, errs)
	}
}

func TestCtrlCDuringAnEnrolmentTellsWhoIsLeft(t *testing.T) {
	t.Parallel()
	names := make([]string, 60)
	for i := range names {
		names[i] = fmt.Sprintf("u%02d", i)
	}
	s := newShell(t, "settle: 0s", names...)
	ctx, cancel := context.WithCancelCause(t.Context())
	var made atomic.Int32
	s.Ctx = ctx
	s.AWS.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
		if op == rotatetest.CreateKey && made.Add(1) == 20 {
			cancel(interruption{syscall.SIGINT})
		}
		return rotatetest.None
	}
	code, out, errs := s.Run("users", "enroll", "--canary", "5")
	var left, all int
	at := strings.Index(errs, "keyrot: interrupted, ")
	if at < 0 {
		t.Fatalf("enroll = %d\n%s%s", code, out, errs)
	}
	_, err := fmt.Sscanf(errs[at:], "keyrot: interrupted, %d of %d users not reached", &left, &all)
	if code != 130 || err != nil || all != 60 || left == 0 || left > 55 {
		t.Errorf("enroll = %d, %v: %d of %d left\n%s", code, err, left, all, errs)
	}
	s.Ctx = nil
	s.Succeed("users", "enroll")
	for _, u := range names {
		if n := len(s.AWS.Alive(u)); n > 1 {
			t.Errorf("%s has %d keys after enroll was run again, want no key that nobody has", u, n)
		}
	}
}

func TestCtrlCEndsWaits(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Succeed("rotate-once", "--force")
	s.Interrupt("still has a key that works for others")
	if code, _, errs := s.Run("users", "release", "ci"); code != 130 || !strings.Contains(errs, "interrupted, ci is released, but not forgotten yet; run this again") {
		t.Errorf("release = %d\n%s", code, errs)
	}

	s = newShell(t, "settle: 0s", "ci")
	s.AWS.OldKey = rotatetest.Delay{Min: time.Hour, Max: time.Hour}
	s.Succeed("users", "enroll")
	s.Interrupt("is ordered")
	if code, _, errs := s.Run("burn", "ci", "--wait", "1h"); code != 130 || !strings.Contains(errs, "interrupted, the order is recorded") {
		t.Errorf("burn = %d\n%s", code, errs)
	}
}
