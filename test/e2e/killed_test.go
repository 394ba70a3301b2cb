//go:build e2e && linux

package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// holdUp passes requests on, but holds those for which holds is true until they are
// given up by who made them.
type holdUp struct {
	*httptest.Server
	held atomic.Int32
}

func newHoldUp(t *testing.T, to string, holds func(*http.Request) bool) *holdUp {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g, proxy := &holdUp{}, httputil.NewSingleHostReverseProxy(u)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if holds(r) {
			g.held.Add(1)
			_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the caller is gone
			<-r.Context().Done()
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { g.CloseClientConnections(); g.Close() })
	return g
}

// TestKilledInTheMiddle kills a process in the middle of a rotation, while it holds
// the user's lease, which is a minute long. The next process goes on at once. While
// the first is only stopped, no other one does.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	s, v := versity(t, "app")
	var closed atomic.Bool // before STS, for keys that are to be proven
	sts := newHoldUp(t, v.IAM.URL, func(r *http.Request) bool {
		return closed.Load() && !strings.Contains(r.Header.Get("Authorization"), v.Root.AccessKeyID)
	})
	s.Env = append(s.Env, "AWS_ENDPOINT_URL_STS="+sts.URL)
	once := func(args ...string) string {
		t.Helper()
		out, err := s.Run(t.Context(), append([]string{"rotate-once", "--settle", "0s"}, args...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	once()
	closed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first := exec.CommandContext(ctx, filepath.Join(s.Bin, "keyrot"), "rotate-once", "--settle", "0s", "--force")
	first.Env = append(os.Environ(), s.env()...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for sts.held.Load() == 0 {
		if ctx.Err() != nil {
			t.Fatal("no key was to be proven")
		}
		time.Sleep(pollInterval)
	}
	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	closed.Store(false)
	if out := once(); strings.Contains(out, "promote") {
		t.Errorf("a process that is stopped lost its lease:\n%s", out)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if out := once(); !strings.Contains(out, "promote") {
		t.Errorf("the rotation of a process that was killed is not finished:\n%s", out)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "keyrot.db.owners")); err != nil || len(left) != 1 {
		t.Errorf("the folder of processes holds %v, %v, want the killed one's file, for five minutes", left, err)
	}
}
