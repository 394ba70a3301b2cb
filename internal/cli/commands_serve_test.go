package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// sheet is a stream that several goroutines write to.
type sheet struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sheet) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Start runs a command that goes on until end is called, which returns its exit
// code, and waits until it has said text.
func (s *shell) Start(text string, args ...string) (said *sheet, end func() int) {
	s.Helper()
	ctx, cancel := context.WithCancelCause(s.Context())
	reached := make(chan struct{})
	said = &sheet{}
	e := s.Env
	e.Out = &when{said, text, func() { close(reached) }}
	e.Err = e.Out
	code := make(chan int, 1)
	go func() { code <- Run(ctx, e, append([]string{"--config", s.File}, args...)) }()
	select {
	case <-reached:
	case c := <-code:
		s.Fatalf("keyrot %s = %d\n%s", strings.Join(args, " "), c, said)
	}
	return said, func() int {
		cancel(interruption{syscall.SIGTERM})
		return <-code
	}
}

// after returns the first word after text.
func after(said, text string) string {
	_, rest, _ := strings.Cut(said, text)
	return strings.Fields(rest)[0]
}

// TestTheWayOfAKey goes from the daemon to the programs that use its keys: serve,
// get-key, the agent, exec; and what each says when it is refused.
func TestTheWayOfAKey(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s\nserver: {listen: '127.0.0.1:0'}", "ci")
	s.Succeed("users", "enroll")
	out, _ := s.Succeed("api-key", "create", "--users", "ci", "-o", "json")
	var made struct {
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, wrong := filepath.Join(dir, "key"), filepath.Join(dir, "wrong")
	for name, text := range map[string]string{file: made.APIKey, wrong: "krk_none_0"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon, end := s.Start("serving on", "serve")
	url := after(daemon.String(), "serving on ")
	to := func(key string, args ...string) []string {
		return append(args, "--endpoint", url, "--api-key-file", key)
	}
	key := s.AWS.Working("ci")[0]
	if out, _ := s.Succeed(to(file, "get-key", "--user", "ci", "--no-agent", "--no-cache")...); !strings.Contains(out, key) {
		t.Errorf("get-key = %s, want %s", out, key)
	}
	s.Refused(2, "API key", to(wrong, "get-key", "--user", "ci", "--no-agent", "--no-cache")...)
	s.Refused(2, "may not read this user", to(file, "get-key", "--user", "other", "--no-agent", "--no-cache")...)
	s.Refused(2, "--user", to(file, "get-key")...)
	s.Refused(2, "error", "get-key", "--user", "ci", "--endpoint", "ftp://x")

	socket := filepath.Join(dir, "a.sock")
	s.Refused(2, "--users is missing", to(file, "agent")...)
	s.Refused(2, "is not a loopback address", to(file, "agent", "--users", "ci", "--listen", "10.0.0.1:1")...)
	s.Refused(2, "is not HOST:PORT", to(file, "agent", "--users", "ci", "--listen", "x")...)
	s.Refused(2, "error", to(wrong, "agent", "--users", "ci", "--listen", "127.0.0.1:0", "--socket", socket)...)
	agent, endAgent := s.Start("AUTHORIZATION_TOKEN_FILE", to(file, "agent", "--users", "ci", "--listen", "127.0.0.1:0", "--socket", socket)...)
	if !strings.Contains(agent.String(), "export AWS_CONTAINER_CREDENTIALS_FULL_URI=") {
		t.Errorf("agent said %s", agent)
	}
	s.Refused(2, "end the other agent", to(file, "agent", "--users", "ci", "--listen", "127.0.0.1:0", "--socket", socket)...)
	if code := endAgent(); code != 0 {
		t.Errorf("agent, told to end = %d\n%s", code, agent)
	}

	s.Refused(2, "--user is missing", to(file, "exec", "--", "true")...)
	s.Refused(127, "starting the command", append(to(file, "exec", "--user", "ci"), "--", filepath.Join(dir, "none"))...)
	show := append(to(file, "exec", "--user", "ci"), "--", "sh", "-c", `echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; exit 7`)
	if code, out, errs := s.Run(show...); code != 7 || !strings.Contains(out, "http://127.0.0.1:") {
		t.Errorf("exec = %d, %q, %q, want the command's code and its endpoint", code, out, errs)
	}
	s.Refused(128+9, "", append(to(file, "exec", "--user", "ci"), "--", "sh", "-c", "kill -9 $$")...)
	s.Refused(2, "API key", append(to(wrong, "exec", "--user", "ci"), "--", "true")...)
	if code := end(); code != 0 {
		t.Errorf("serve, told to end = %d\n%s", code, daemon)
	}
	s.Refused(1, "error", to(file, "get-key", "--user", "ci", "--no-agent", "--no-cache")...)
}

func TestServeRefusesToBegin(t *testing.T) {
	t.Parallel()
	s := newShell(t, "server: {listen: '127.0.0.1:0'}")
	s.Refused(2, "no user is selected", "serve")
	s.Refused(2, "choose another address", "serve", "--users", "ci", "--listen", "192.0.2.1:1", "--allow-plain-http")
	s.Refused(2, "TLS", "serve", "--users", "ci", "--tls-cert", "/none", "--tls-key", "/none")
}

func TestStatusIsWatched(t *testing.T) {
	t.Parallel()
	s := newShell(t, "settle: 0s", "ci")
	s.Succeed("users", "enroll")
	s.Refused(2, "--watch draws on a terminal", "status", "--watch", "-o", "json")
	said, end := s.Start("ci", "status", "--watch")
	if code := end(); code != 0 || !strings.Contains(said.String(), "USER") {
		t.Errorf("status --watch = %d\n%s", code, said)
	}
}
