package cli

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// logOf makes a log with events of these ages at now.
func logOf(t *testing.T, path string, s rotate.Settings, now time.Time, ages ...time.Duration) {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Options{Path: path, Settings: s, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, age := range ages {
		if err := log.Append(t.Context(), rotate.Event{Time: now.Add(-age), Action: "handout", User: "ci"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const day = 24 * time.Hour

// TestAuditPruneCommand: lines go by AWS's clock, not by this machine's, which is
// years ahead here.
func TestAuditPruneCommand(t *testing.T) {
	for name, reachable := range map[string]bool{"AWS tells the time": true, "nobody tells the time": false} {
		t.Run(name, func(t *testing.T) {
			e, out, errs := testEnv(t, nil)
			now := time.Now().Add(ahead)
			e.Now = func() time.Time { return now.Add(3000 * day) }
			cfg, err := e.loadValid(common{File: os.DevNull})
			if err != nil {
				t.Fatal(err)
			}
			st, err := openStore(t.Context(), cfg, e.Getenv, rotatetest.Clock())
			if err != nil {
				t.Fatal(err)
			}
			logOf(t, cfg.Audit.Path, st, now, 500*day, 450*day, 300*day, day)
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			sdk, _ := datedAWS(t)
			url := *sdk.BaseEndpoint
			if !reachable {
				url = "http://127.0.0.1:1"
			}
			for k, v := range map[string]string{"AWS_REGION": sdk.Region, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"} {
				t.Setenv(k, v)
			}
			before, _ := os.ReadFile(cfg.Audit.Path)
			to := filepath.Join(t.TempDir(), "exports")
			if code := Run(t.Context(), e, []string{"audit", "prune", "--to", to, "--dry-run"}); reachable != (code == 0) {
				t.Errorf("with --dry-run: exit %d, %s%s", code, out, errs)
			}
			if after, _ := os.ReadFile(cfg.Audit.Path); !slices.Equal(before, after) {
				t.Error("--dry-run changed the log")
			}
			out.Reset()
			code := Run(t.Context(), e, []string{"audit", "prune", "--to", to, "-o", "json"})
			if !reachable {
				if after, _ := os.ReadFile(cfg.Audit.Path); code != 1 || !slices.Equal(before, after) || !strings.Contains(errs.String(), "nothing is pruned") {
					t.Errorf("exit %d, %s, want a refusal and the log as it was", code, errs)
				}
				return
			}
			var got []pruned
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || code != 0 || len(got) != 1 || got[0].Lines != 2 || filepath.Dir(got[0].Path) != to {
				t.Errorf("exit %d, %s%s, want two lines in %s", code, out, errs, to)
			}
			if code := Run(t.Context(), e, []string{"audit", "verify"}); code != 0 {
				t.Errorf("verify afterwards: exit %d, %s", code, errs)
			}
		})
	}
}

// TestServePrunes: what is old is dropped a while after the start and then every
// few hours, if AWS has told the time.
func TestServePrunes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ages             []time.Duration
		known            bool
		handouts, audits int // calls in a day
	}{
		"an old line":                  {[]time.Duration{500 * day, day}, true, 4, 4},
		"a line that is only just old": {[]time.Duration{410 * day, day}, true, 4, 0},
		"no log":                       {nil, true, 4, 0},
		"nobody knows what time it is": {[]time.Duration{500 * day}, false, 0, 0},
		"nothing is old":               {[]time.Duration{day}, true, 4, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				cfg := config.Config{
					Audit:    config.Audit{Path: filepath.Join(dir, "audit.jsonl"), Keep: 400 * day, Exports: dir},
					Handouts: config.Handouts{Keep: 90 * day},
				}
				if len(c.ages) > 0 {
					logOf(t, cfg.Audit.Path, nil, time.Now(), c.ages...)
				}
				clock := &rotate.Clock{}
				if c.known {
					clock = rotatetest.Clock()
				}
				handouts, audits := 0, 0
				p := &pruner{
					Config: cfg, Clock: clock, Log: slog.New(slog.DiscardHandler),
					Handouts: func(_ context.Context, before time.Time) (int64, error) {
						handouts++
						if age := time.Since(before); age != 90*day {
							t.Errorf("hand-outs older than %s are dropped, want 90 days", age)
						}
						return 1, nil
					},
					Audit: func(_ context.Context, before time.Time, _, _ string) (audit.Segment, error) {
						audits++
						if age := time.Since(before); age != 400*day {
							t.Errorf("lines older than %s are cut off, want 400 days", age)
						}
						return audit.Segment{}, audit.ErrPruning
					},
				}
				ctx, cancel := context.WithTimeout(t.Context(), day)
				defer cancel()
				_ = p.Run(ctx)
				if handouts != c.handouts || audits != c.audits {
					t.Errorf("hand-outs %d, log %d times in a day, want %d and %d", handouts, audits, c.handouts, c.audits)
				}
			})
		})
	}
}
