//go:build e2e

package e2e

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// BuildBootstrap builds the Lambda function's program into dir and returns its
// path and the size, in bytes, of a zip that holds it.
func BuildBootstrap(ctx context.Context, dir string) (path string, zipped int64, err error) {
	path = filepath.Join(dir, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc,nosandbox", "-o", path, "./cmd/keyrot")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", 0, fmt.Errorf("building bootstrap: %w\n%s", err, out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	w, err := z.Create("bootstrap")
	if err == nil {
		_, err = w.Write(raw)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return "", 0, err
	}
	return path, int64(b.Len()), nil
}

// Instance is one execution environment of a function: a process, and the
// Lambda Runtime API that it talks to, whose four endpoints are served here.
type Instance struct {
	Cold time.Duration // from the start of the process to its first request for an event

	cmd     *exec.Cmd
	server  *httptest.Server
	queue   chan *invocation
	begun   time.Time
	ready   chan struct{} // closed at the first request for an event
	once    sync.Once
	mu      sync.Mutex
	pending map[string]*invocation
	n       int
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answer   chan invocationAnswer
}

type invocationAnswer struct {
	body   []byte
	failed bool
}

// StartInstance starts the program with the environment and waits until it
// asks for an event. Its standard output and error go to log.
func StartInstance(ctx context.Context, bootstrap, log string, env []string) (*Instance, error) {
	i := &Instance{queue: make(chan *invocation), ready: make(chan struct{}), pending: map[string]*invocation{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", i.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { i.finish(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { i.finish(w, r, true) })
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	i.server = httptest.NewServer(mux)
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	i.cmd = exec.Command(bootstrap)
	i.cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(i.server.URL, "http://")}, env...)
	i.cmd.Stdout, i.cmd.Stderr = out, out
	i.begun = time.Now()
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-i.ready:
		return i, nil
	case <-ctx.Done():
		i.Stop()
		return nil, fmt.Errorf("the function asked for no event (see %s): %w", log, ctx.Err())
	}
}

func (i *Instance) next(w http.ResponseWriter, r *http.Request) {
	i.once.Do(func() {
		i.Cold = time.Since(i.begun)
		close(i.ready)
	})
	select {
	case v := <-i.queue:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", v.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(v.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:keyrot")
		_, _ = w.Write(v.payload)
	case <-r.Context().Done():
	}
}

func (i *Instance) finish(w http.ResponseWriter, r *http.Request, failed bool) {
	body, _ := io.ReadAll(r.Body)
	i.mu.Lock()
	v := i.pending[r.PathValue("id")]
	delete(i.pending, r.PathValue("id"))
	i.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	if v != nil {
		v.answer <- invocationAnswer{body, failed}
	}
}

// Invoke sends one event and returns the answer. A failed invocation is an
// error that quotes what the function said.
func (i *Instance) Invoke(ctx context.Context, payload string, limit time.Duration) ([]byte, error) {
	i.mu.Lock()
	i.n++
	v := &invocation{id: fmt.Sprint("request-", i.n), payload: []byte(payload), answer: make(chan invocationAnswer, 1)}
	i.pending[v.id] = v
	i.mu.Unlock()
	v.deadline = time.Now().Add(limit)
	ctx, cancel := context.WithTimeout(ctx, limit+startTimeout)
	defer cancel()
	select {
	case i.queue <- v:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case a := <-v.answer:
		if a.failed {
			return nil, fmt.Errorf("invocation failed: %s", a.body)
		}
		return a.body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Stop ends the process and returns the most memory it held, in MiB. Lambda,
// too, kills an environment that does not end when it is asked to.
func (i *Instance) Stop() int64 {
	_ = i.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(time.Second, func() { _ = i.cmd.Process.Kill() })
	_ = i.cmd.Wait() // its end was asked for
	kill.Stop()
	i.server.CloseClientConnections()
	i.server.Close()
	if u, ok := i.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss >> 10
	}
	return 0
}
