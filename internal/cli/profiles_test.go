package cli

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestProfiles takes profiles of a daemon that runs as "keyrot serve" does.
func TestProfiles(t *testing.T) {
	t.Parallel()
	url := runProfiled(t, "127.0.0.1:0")
	for _, tt := range []struct {
		name, path, host string
		status           int
		want             string
	}{
		{"the heap's profile is there", "heap?debug=1", "", http.StatusOK, "heap profile:"},
		{"the processor's profile is there", "profile?seconds=1", "", http.StatusOK, "\x1f\x8b"}, // gzip
		{"the command line is not told", "cmdline", "", http.StatusNotFound, ""},
		{"a page of another site gets nothing", "heap?debug=1", "rebound.example:80", http.StatusForbidden, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = tt.host
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tt.status || !strings.HasPrefix(string(body), tt.want) {
				t.Errorf("GET %s = %d, %.40q, %v, want %d and %q", tt.path, res.StatusCode, body, err, tt.status, tt.want)
			}
		})
	}
}

// runProfiled runs the parts until the test ends, and returns the URL of the
// profiles as it is logged.
func runProfiled(t *testing.T, pprof string) string {
	t.Helper()
	w := openWired(t, func(c *config.Config) { c.Server.Pprof = pprof })
	aws := &rotatetest.AWS{}
	w.rotator.IAM, w.rotator.Select = aws, func(context.Context) ([]rotate.User, error) { return aws.Users(), nil }
	logged, log := io.Pipe()
	w.rotator.Log = slog.New(slog.NewTextHandler(log, nil))
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.run(ctx, ln); err != nil {
			t.Errorf("run() = %v", err)
		}
		_ = log.Close()
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	lines := bufio.NewScanner(logged)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), " url="); ok {
			wg.Go(func() { _, _ = io.Copy(io.Discard, logged) })
			return url
		}
	}
	t.Fatal("run() logs no URL")
	return ""
}
