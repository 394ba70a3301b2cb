//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestDiskFails has the syncs of a daemon's audit log fail for two seconds, and
// later fills its disk for five, while a client works: what was promised is
// handed out all the time, rotation goes on afterwards without a restart, and
// the log tells of both. At last it is stopped and the disk filled: starts fail and
// say why until there is space.
func TestDiskFails(t *testing.T) {
	p := newTroupe(t, 1, false, []string{dates})
	path := filepath.Join(p.Dir, "audit.jsonl")
	if err := p.Serve(t.Context(), slowSchedule...); err != nil {
		t.Fatal(err)
	}
	given := func(what string) {
		t.Helper()
		if pair, err := p.GetKey(t.Context(), "app"); err != nil {
			t.Errorf("while %s: %v", what, err)
		} else if err := p.call(t.Context(), pair); err != nil {
			t.Errorf("while %s: %s is refused: %v", what, pair.AccessKeyId, err)
		}
	}
	p.work(4*time.Minute, 4, func(ctx context.Context) {
		given("all is well")
		bad, err := spoilSyncs(p.server.cmd.Process.Pid, filepath.Join(p.logs, "strace.log"), path)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			given("syncs fail")
			sleep(ctx, 500*time.Millisecond)
		}
		if n := bad.stop(); n == 0 {
			t.Error("no sync failed: the test has shown nothing")
		}
		p.rotates(ctx, "after syncs failed")
		if err := p.disk.Fill(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			given("the disk is full")
			sleep(ctx, 500*time.Millisecond)
		}
		if err := p.disk.Free(); err != nil {
			t.Fatal(err)
		}
		p.rotates(ctx, "after the disk was full")
		// On a full disk it is started again and again.
		p.Stop()
		if err := p.disk.Fill(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			start, cancel := context.WithTimeout(ctx, 20*time.Second)
			out, err := p.Run(start, append([]string{"serve", "--listen", "127.0.0.1:0"}, slowSchedule...)...)
			if cancel(); err == nil || !strings.Contains(err.Error(), "disk is full") {
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
