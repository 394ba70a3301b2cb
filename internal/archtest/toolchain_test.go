package archtest

import (
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/keyrot/keyrot/pkg/server"
)

// TestToolchain: releases are built by the toolchain that go.mod pins, and
// that is one whose HTTP/2 server is safe. That the built binaries come from it
// is checked by test/vuln.sh.
func TestToolchain(t *testing.T) {
	t.Parallel()
	find := func(file, pattern string) string {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(pattern).FindSubmatch(raw)
		if m == nil {
			t.Fatalf("%s has no %s", file, pattern)
		}
		return string(m[1])
	}
	pinned := find("go.mod", `(?m)^toolchain (go\S+)$`)
	if !server.SafeHTTP2(pinned) {
		t.Errorf("go.mod pins %s, whose HTTP/2 server can be crashed (GO-2026-6617)", pinned)
	}
	if got := find(".goreleaser.yaml", `GOTOOLCHAIN=(go[^\]\s]+)`); got != pinned {
		t.Errorf(".goreleaser.yaml builds with %s, want %s of go.mod", got, pinned)
	}
	if needs := "go" + find("go.mod", `(?m)^go (\S+)$`); version.Compare(needs, pinned) > 0 {
		t.Errorf("go.mod needs %s, which is newer than the toolchain %s", needs, pinned)
	}
	find(".ci/run", `(?m)^(step vulnerabilities \d+ make vuln)$`)
}
