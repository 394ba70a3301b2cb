//go:build e2e

// Package e2e runs the built binary against AWS-compatible servers that nobody
// here wrote, each in a process of its own. setup.sh installs them.
package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/test/freeport"
)

// Region is the region to sign for.
const Region = "us-east-1"

// What is waited for, on a machine that is slow and busy with other things,
// too: no test judges how long something takes.
const (
	patience     = 10 * time.Minute // for what must come about
	startTimeout = 3 * time.Minute
	stopTimeout  = time.Minute
	pollInterval = 20 * time.Millisecond
)

// Process is a server that runs. Its output goes to a file.
type Process struct {
	URL  string
	Log  string // file
	cmd  *exec.Cmd
	done chan error
}

// Stop asks the process to end, kills it if it does not, and waits for it.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case err := <-p.done:
		p.done <- err // for who stops it again
	case <-t.C:
		_ = p.cmd.Process.Kill()
		p.done <- <-p.done
	}
}

// Versitygw is versitygw's IAM and STS in one process and its S3, gated by
// that IAM, in another.
type Versitygw struct {
	IAM, S3 *Process
	Root    aws.Credentials // may do everything
}

// StartVersitygw starts versitygw with its state and logs in dir, which must
// have a short path: a unix socket is made there.
func StartVersitygw(ctx context.Context, dir string) (*Versitygw, error) {
	v := &Versitygw{Root: aws.Credentials{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()[:14]}}
	state, data, socket := filepath.Join(dir, "iam"), filepath.Join(dir, "data"), filepath.Join(dir, "iam.sock")
	for _, d := range []string{state, data, filepath.Join(dir, "meta")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	bin, err := installed("bin", "versitygw")
	if err != nil {
		return nil, err
	}
	env := []string{"ROOT_ACCESS_KEY=" + v.Root.AccessKeyID, "ROOT_SECRET_KEY=" + v.Root.SecretAccessKey, "VGW_REGION=" + Region}
	v.IAM, err = start(ctx, filepath.Join(dir, "versitygw-iam.log"), "/healthz", env, func(addr string) []string {
		return []string{bin, "-p", addr, "--health", "/healthz", "iam", "--dir", state, "--private-ports", socket, "--disable-oidc-thumbprint-autofetch"}
	})
	if err != nil {
		return nil, err
	}
	v.S3, err = start(ctx, filepath.Join(dir, "versitygw-s3.log"), "/healthz", env, func(addr string) []string {
		return []string{bin, "-p", addr, "--health", "/healthz", "--iam-standalone-endpoint", socket, "posix", "--sidecar", filepath.Join(dir, "meta"), data}
	})
	if err != nil {
		v.IAM.Stop()
		return nil, err
	}
	return v, nil
}

// Stop stops both processes.
func (v *Versitygw) Stop() {
	v.S3.Stop()
	v.IAM.Stop()
}

// StartMoto starts moto with its log in dir. It does not check signatures.
func StartMoto(ctx context.Context, dir string) (*Process, error) {
	bin, err := installed("venv", "bin", "moto_server")
	if err != nil {
		return nil, err
	}
	return start(ctx, filepath.Join(dir, "moto.log"), "/moto-api/", nil, func(addr string) []string {
		host, port, _ := net.SplitHostPort(addr)
		return []string{bin, "-H", host, "-p", port}
	})
}

// StartDynamoDBLocal starts AWS's own DynamoDB Local, in memory, with its log
// in dir. It needs a Java development kit.
func StartDynamoDBLocal(ctx context.Context, dir string) (*Process, error) {
	jars, err := installed("dynamodblocal")
	if err != nil {
		return nil, err
	}
	main, err := filepath.Abs(filepath.Join("dynamodblocal", "Loopback.java"))
	if err != nil {
		return nil, err
	}
	return start(ctx, filepath.Join(dir, "dynamodb.log"), "", nil, func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{
			"java", "-Xmx256m", "-Djava.library.path=" + jars, "-cp", filepath.Join(jars, "*"), main,
			"-inMemory", "-disableTelemetry", "-port", port,
		}
	})
}

// installed returns the path of what setup.sh has installed.
func installed(elem ...string) (string, error) {
	p, err := filepath.Abs(filepath.Join(append([]string{"..", "..", ".e2e"}, elem...)...))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("%w (run test/e2e/setup.sh)", err)
	}
	return p, nil
}

// start runs a server on a free port and waits until health answers 200, or,
// if that is empty, until anything answers.
func start(ctx context.Context, log, health string, env []string, command func(addr string) []string) (*Process, error) {
	addr, err := freeport.Addr(ctx)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args := command(addr)
	// Not CommandContext: the server outlives ctx's user and ends by Stop.
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if n := slices.Index(args, "--listen"); n >= 0 {
		addr = args[n+1] // the command has chosen
	}
	p := &Process{URL: "http://" + addr, Log: log, cmd: cmd, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	if err := p.healthy(ctx, health); err != nil {
		return nil, fmt.Errorf("%s: %w (see %s)", filepath.Base(args[0]), err, log)
	}
	return p, nil
}

// healthy waits until the process answers. If it does not, it is stopped.
func (p *Process) healthy(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path, nil)
		if err != nil {
			p.Stop()
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK || path == "" {
				return nil
			}
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("it ended at its start: %v", err) //nolint:errorlint // nil if it ended without an error
		case <-ctx.Done():
			p.Stop()
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
