package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyrot/keyrot/internal/printable"
)

// terminals are kept until the process ends. What a signal leaves alone reads on by
// the descriptor's number: if that were closed with its file, it would read from
// the next test's terminal.
var terminals struct {
	sync.Mutex
	files []*os.File
}

// terminal is a pseudo-terminal: the side of the person, and the program's.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	terminals.Lock()
	defer terminals.Unlock()
	terminals.files = append(terminals.files, person, program)
	return person, program
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// quiet waits until the terminal does not show what is typed.
func quiet(t *testing.T, f *os.File) {
	t.Helper()
	for echoes(t, f) && t.Context().Err() == nil {
		runtime.Gosched()
	}
}

// TestAPastedSecretIsNotShown: "users import" on a terminal.
func TestAPastedSecretIsNotShown(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	key, secret, err := s.AWS.Create(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	person, program := terminal(t)
	var shown strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = readAll(&shown, person) })
	s.Env.In = program
	s.Env.Err = &when{s.errs, "it is not shown", func() {
		go func() { // ReadPassword comes next
			quiet(t, program)
			_, _ = person.WriteString(secret.Reveal() + "\n")
		}()
	}}
	_, errs := s.Succeed("users", "import", "ci", "--key", key.ID, "--init")
	if !strings.Contains(errs, "secret access key of "+key.ID) || strings.Contains(errs, secret.Reveal()) || !echoes(t, program) {
		t.Errorf("import: echo is back: %t\n%s", echoes(t, program), errs)
	}
	_ = program.Close()
	reading.Wait()
	if strings.Contains(shown.String(), secret.Reveal()) {
		t.Errorf("the terminal shows the secret: %q", shown.String())
	}
}

// readAll reads a terminal until its other side is closed.
func readAll(to *strings.Builder, from *os.File) (int, error) {
	b := make([]byte, 1024)
	for {
		n, err := from.Read(b)
		to.Write(b[:n])
		if err != nil {
			return n, err
		}
	}
}

// TestCtrlCAtASecretRestoresTheTerminal: what is typed in the shell afterwards is
// shown again, and nothing was made.
func TestCtrlCAtASecretRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t, "", "ci")
	_, program := terminal(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Ctx, s.Env.In = ctx, program
	s.Env.Err = &when{s.errs, "it is not shown", func() {
		go func() {
			quiet(t, program)
			cancel(interruption{syscall.SIGINT})
		}()
	}}
	code, _, errs := s.Run("users", "import", "ci", "--key", "AKIAIOSFODNN7EXAMPLE", "--init")
	if code != 130 || !strings.HasSuffix(errs, "keyrot: interrupted\n") || !echoes(t, program) {
		t.Errorf("import = %d, %q; echo is back: %t", code, errs, echoes(t, program))
	}
	s.Ctx, s.Env.Err = nil, s.errs
	s.Refused(2, "does not exist", "status")
}

// TestAReleaseOnATerminalAsks whether the secret may go.
func TestAReleaseOnATerminalAsks(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	person, program := terminal(t)
	s.Env.In = program
	if _, err := person.WriteString("no\nyes\n"); err != nil {
		t.Fatal(err)
	}
	s.Refused(2, "not confirmed, nothing was changed", "users", "release", "ci")
	if r := s.Record("ci"); !r.Released.IsZero() {
		t.Error("the user is released although that was not confirmed")
	}
	s.Succeed("users", "release", "ci")
}

// TestWideningsAreRedOnATerminal, and what others chose stays text there.
func TestWideningsAreRedOnATerminal(t *testing.T) {
	t.Parallel()
	person, program := terminal(t)
	for _, c := range []struct{ noColour, want string }{
		{"", "keyrot: \x1b[31;1mWIDER: users of \\u001b[2J\x1b[0m\r\n"}, {"1", "keyrot: WIDER: users of \\u001b[2J\r\n"},
	} {
		p := &deployment{Env: Env{Err: printable.Writer{Writer: program}, Getenv: func(string) string { return c.noColour }}}
		p.showWidenings([]string{"users of \x1b[2J"})
		got := make([]byte, len(c.want))
		if _, err := io.ReadFull(person, got); err != nil || string(got) != c.want {
			t.Errorf("with NO_COLOR=%q the terminal shows %q, %v, want %q", c.noColour, got, err, c.want)
		}
	}
}
