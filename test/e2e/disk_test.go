//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestDiskFails has the syncs of a daemon's audit log fail, and later fills its
// disk, while a client works: what was promised is handed out all the time,
// rotation goes on afterwards without a restart, and the log tells of both. At
// last it is stopped and the disk filled: starts fail and say why until there is
// space.
func TestDiskFails(t *testing.T) {
	p := newTroupe(t, 1, false, []string{dates})
	path := filepath.Join(p.Dir, "audit.jsonl")
	if err := p.Serve(t.Context(), slowSchedule...); err != nil {
		t.Fatal(err)
	}
	p.work(4, func(ctx context.Context) {
		failed := 0
		p.handsOut(ctx, "syncs fail", 4, func() (end func()) {
			bad, err := spoilSyncs(p.server.cmd.Process.Pid, filepath.Join(p.logs, "strace.log"), path)
			if err != nil {
				t.Fatal(err)
			}
			return func() { failed += bad.stop() }
		})
		if failed == 0 {
			t.Error("no sync failed: the test has shown nothing")
		}
		p.handsOut(ctx, "the disk is full", 10, func() (end func()) {
			if err := p.disk.Fill(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := p.disk.Free(); err != nil {
					t.Fatal(err)
				}
			}
		})
		p.rotates(ctx, "after the disk was full")
		// On a full disk it is started again and again.
		p.Stop()
		if err := p.disk.Fill(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			out, err := p.Run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, slowSchedule...)...)
			if err == nil || !strings.Contains(err.Error(), "disk is full") {
				t.Errorf("serve on a full disk = %s, %v; want an error that says so", out, err)
			}
		}
		if err := p.disk.Free(); err != nil {
			t.Fatal(err)
		}
		if err := p.Serve(ctx, slowSchedule...); err != nil {
			t.Fatal(err)
		}
		p.rotates(ctx, "after starts on a full disk")
	})
	p.Stop()
	if out, err := p.Run(t.Context(), "audit", "verify"); err != nil {
		t.Errorf("the audit log: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for l, err := range audit.Lines(bytes.NewReader(raw)) {
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, l.Action)
	}
	for _, want := range []string{audit.ActionRepair, rotate.ActionLate} {
		if !slices.Contains(actions, want) {
			t.Errorf("the log does not tell of what happened: no %s", want)
		}
	}
}

// handsOut has a fault begin when a new key was promised. While it lasts, the
// daemon hands out n times what works, or until that promise is over. Should it
// be over at once, the machine is slow, and the fault begins anew.
func (p *troupe) handsOut(ctx context.Context, while string, n int, begin func() (end func())) {
	p.t.Helper()
	for done := 0; done == 0; {
		p.rotates(ctx, "before "+while)
		promised := p.daemonGives(ctx, "before "+while, time.Now())
		end := begin()
		for ; done < n && !promised.IsZero(); done++ {
			until := p.daemonGives(ctx, "while "+while, promised)
			if until.IsZero() {
				break
			}
			promised = until
			sleep(ctx, 500*time.Millisecond)
		}
		end()
		if ctx.Err() != nil {
			p.t.Fatalf("while %s nothing could be shown", while)
		}
	}
}

// daemonGives gets a key from the daemon itself and uses it, and returns its
// Expiration, which is zero if there is none: then promised, the one before, is
// over, or nearly, since nobody is given less than a second.
func (p *troupe) daemonGives(ctx context.Context, when string, promised time.Time) (until time.Time) {
	p.t.Helper()
	var pair Pair
	out, err := p.Run(ctx, "get-key", "--user", "app", "--no-cache", "--format", "json")
	if err == nil {
		err = json.Unmarshal(out, &pair)
	}
	if err != nil {
		if time.Now().Add(time.Second).Before(promised) {
			p.t.Errorf("%s nothing is handed out: %v", when, err)
		}
		return time.Time{}
	}
	if err := p.call(ctx, pair); err != nil && time.Now().Before(pair.Expiration) {
		p.t.Errorf("%s %s is refused: %v", when, pair.AccessKeyId, err)
	}
	return pair.Expiration
}

// rotates waits until another key than now's is handed out.
func (p *troupe) rotates(ctx context.Context, when string) {
	p.t.Helper()
	was := ""
	for ctx.Err() == nil {
		switch pair, err := p.GetKey(ctx, "app"); {
		case err != nil: // a promise may have ended while nothing could be saved
		case was == "":
			was = pair.AccessKeyId
		case pair.AccessKeyId != was:
			return
		}
		sleep(ctx, 200*time.Millisecond)
	}
	p.t.Errorf("%s nothing is rotated any more", when)
}
