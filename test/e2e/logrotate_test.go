//go:build e2e

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLogrotate rotates the audit log of a server that hands keys out, by the
// settings that docs/audit.md has.
func TestLogrotate(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	logrotate, err := exec.LookPath("logrotate")
	if err != nil {
		logrotate = "/usr/sbin/logrotate" // which is in nobody's path but root's
	}
	bin, dir := filepath.Join(build(t), "keyrot"), t.TempDir()
	env := []string{"TMPDIR=" + dir, "KEYROT_API_KEY=log-rotation-in-the-sandbox-only", "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir}
	var url string
	p, err := start(ctx, filepath.Join(dir, "serve.log"), "/readyz", env, func(addr string) []string {
		url = "http://" + addr
		return []string{bin, "serve", "--sandbox", "--listen", addr, "--rotate-every", "1h", "--deactivate-after", "70m", "--delete-after", "90m"}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), append(env, "KEYROT_ENDPOINT="+url)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", filepath.Base(name), args, err, out)
		}
		return string(out)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "keyrot-sandbox-*", "audit.jsonl"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("audit logs = %q, %v", logs, err)
	}
	conf := filepath.Join(dir, "logrotate.conf")
	if err := os.WriteFile(conf, documented(t, logs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		run(bin, "get-key", "--no-cache", "--user", "demo-app")
		run(logrotate, "--force", "--state", filepath.Join(dir, "state"), conf)
	}
	run(bin, "get-key", "--no-cache", "--user", "demo-app")
	for _, end := range []string{"", ".1", ".2.gz", ".3.gz"} {
		if _, err := os.Stat(logs[0] + end); err != nil {
			t.Errorf("after three rotations: %v", err)
		}
	}
	at := []string{"--store", filepath.Join(filepath.Dir(logs[0]), "keyrot.db"), "--key-file", filepath.Join(filepath.Dir(logs[0]), "keyrot.key"), "--audit-log", logs[0]}
	if out := run(bin, append([]string{"audit", "verify"}, at...)...); !strings.Contains(out, "the chain holds") {
		t.Errorf("audit verify: %s", out)
	}
	if out := run(bin, append([]string{"audit", "report"}, at...)...); !regexp.MustCompile(`(?m)^demo-app,.*,4,`).MatchString(out) {
		t.Errorf("audit report counts other than the 4 hand-outs of demo-app:\n%s", out)
	}
}

// documented are the settings for logrotate in docs/audit.md, for this log.
func documented(t *testing.T, log string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../../docs/audit.md")
	_, after, found := strings.Cut(string(raw), "```logrotate\n")
	text, _, ended := strings.Cut(after, "```")
	if err != nil || !found || !ended {
		t.Fatal(errors.Join(err, errors.New("docs/audit.md has no settings for logrotate")))
	}
	return []byte(strings.Replace(text, "/var/lib/keyrot/audit.jsonl", log, 1))
}
