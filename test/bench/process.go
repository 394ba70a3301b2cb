package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/keyrot/keyrot/test/freeport"
)

const apiKey = "bench-key-of-the-sandbox-only" // #nosec G101 -- lets nobody in anywhere else

var demoUsers = []string{"demo-app", "demo-ci", "demo-mailer"} //nolint:gochecknoglobals // a constant

// process is a server under load.
type process struct {
	cmd  *exec.Cmd
	addr string
}

// start runs the command on a free port and waits until it is ready.
func start(ctx context.Context, env []string, command func(addr string) []string) (*process, error) {
	addr, err := freeport.Addr(ctx)
	if err != nil {
		return nil, err
	}
	args := command(addr)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // #nosec G204 -- our own binaries
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Env = append(os.Environ(), env...)
	log, err := os.CreateTemp("", "bench-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd, addr}
	for range 600 {
		if body, err := p.call(ctx, http.MethodGet, "/readyz", "", ""); err == nil {
			_ = body
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	p.stop()
	return nil, fmt.Errorf("%s is not ready: %.500s", args[0], said)
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	if log, ok := p.cmd.Stderr.(*os.File); ok {
		_ = os.Remove(log.Name())
	}
}

// memory returns the resident memory in MiB (Linux; zero elsewhere).
func (p *process) memory() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(raw), "VmRSS:")
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}

// cpu returns the processor time used so far (Linux; zero elsewhere).
func (p *process) cpu() time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	var user, system time.Duration // in hundredths of a second: proc(5), fields 14 and 15
	if f := strings.Fields(after); len(f) > 12 {
		_, _ = fmt.Sscan(f[11]+" "+f[12], &user, &system)
	}
	return (user + system) * time.Second / 100
}

func startKeyrot(ctx context.Context, bin, sync string, args ...string) (*process, error) {
	env := []string{"KEYROT_API_KEY=" + apiKey, "KEYROT_LOG_LEVEL=error", "KEYROT_SERVER_CALLER_RATE=1000000", "KEYROT_AUDIT_SYNC=" + sync}
	return start(ctx, env, func(addr string) []string {
		return append([]string{bin, "serve", "--sandbox", "--listen", addr}, args...)
	})
}

func (p *process) call(ctx context.Context, method, path, key, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Api-Key", key)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s answered %s: %s", path, res.Status, body))
	}
	return body, errors.Join(err, res.Body.Close())
}

// token gets a token for the API key.
func (p *process) token(ctx context.Context, key string) (string, error) {
	body, err := p.call(ctx, http.MethodPost, "/generate-token", key, "")
	if err != nil {
		return "", err
	}
	var t struct{ Token string }
	err = json.Unmarshal(body, &t)
	return t.Token, err
}

func keyrotRequest(addr, user, key, token string) []byte {
	return fmt.Appendf(nil,
		"GET /active-key?username=%s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\nAuthorization: Bearer %s\r\n\r\n", user, addr, key, token)
}
