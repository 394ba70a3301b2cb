// Package archtest holds the rules of who may import whom. It has tests only.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keyrot/keyrot/"

// pkg is what go list tells about a package.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
	Deps       []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles,Deps", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// rule says what the packages that match may import. Patterns: a path, or a
// path and /... for all below. "std" is the standard library.
type rule struct {
	who  string
	only []string // of this module and of others; nil: anything not in never
	// never holds imports that are forbidden even if only would allow them.
	never []string
}

var rules = []rule{
	{who: "pkg/rotate/plan", only: []string{"std"}, never: []string{"context", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os", "io", "io/fs", "pkg/rotate"}},
	{who: "pkg/rotate", only: []string{"std", "pkg/rotate/plan"}, never: []string{"net/http", "net"}},
	{who: "pkg/api", only: []string{"std"}, never: []string{"net/http"}},
	{who: "pkg/auth", only: []string{"std", "internal/recent", "pkg/rotate", "github.com/golang-jwt/jwt/v5"}, never: []string{"net/http"}},
	{who: "pkg/auth/callerid", only: []string{"std", "internal/disk", "pkg/api", "pkg/auth", "github.com/golang-jwt/jwt/v5"}},
	{who: "pkg/server", never: []string{"github.com/aws/...", "pkg/store/...", "pkg/awsiam", "pkg/auth/callerid", "internal/cli", "internal/config"}},
	{who: "pkg/page", only: []string{"std", "internal/printable", "pkg/rotate", "pkg/rotate/plan", "pkg/auth", "pkg/audit", "templates/web"}, never: []string{"text/template", "html/template"}},
	{who: "pkg/metrics", only: []string{"std", "pkg/rotate", "pkg/rotate/plan", "github.com/prometheus/..."}},
	{who: "pkg/client", only: []string{"std", "pkg/api"}},
	{who: "pkg/client/awscreds", only: []string{"std", "pkg/api", "pkg/client", "github.com/aws/aws-sdk-go-v2/aws"}},
	{who: "pkg/client/awsidentity", only: []string{"std", "pkg/api", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/aws/signer/v4"}},
	{who: "pkg/agent", only: []string{"std", "pkg/api", "pkg/client", "internal/disk"}},
	{who: "internal/getkey", never: []string{"net/http"}, only: []string{"std", "pkg/api", "internal/hint", "internal/trust", "internal/getkey/entry", "internal/getkey/quick", "internal/sessmtp", "github.com/gofrs/flock"}},
	{who: "internal/getkey/quick", only: []string{"std", "internal/harden", "internal/trust"}}, // system calls: cmd/keyrot/early has a test
	{who: "internal/getkey/entry", only: []string{"std", "golang.org/x/crypto/nacl/secretbox", "golang.org/x/crypto/salsa20"}},
	{who: "internal/getkey/warm", only: []string{"std", "internal/getkey/entry", "internal/getkey/quick"}},
	{who: "internal/getkey/profile", never: []string{"net/http"}, only: []string{"std", "internal/awsconfig", "internal/getkey", "internal/disk", "internal/hint"}},
	{who: "internal/awsconfig", only: []string{"std"}},
	{who: "internal/getkey/local", only: []string{"std", "pkg/api", "internal/getkey", "internal/getkey/entry", "internal/getkey/quick"}},
	{who: "internal/trust", only: []string{"syscall"}},
	{who: "internal/sdnotify", only: []string{"std"}},
	{who: "internal/liveness", only: []string{"std", "github.com/gofrs/flock"}},
	{who: "internal/printable", only: []string{"std"}},
	{who: "internal/getkey/fetch", only: []string{"std", "pkg/api", "pkg/client", "internal/disk", "internal/getkey", "internal/getkey/entry", "internal/hint"}},
	{who: "cmd/keyrot-get", only: []string{"std", "internal/printable", "internal/getkey", "internal/getkey/fetch", "internal/getkey/profile", "cmd/keyrot/early"}},
	{who: "pkg/awsiam", only: []string{"std", "internal/awsanswer", "pkg/pace", "pkg/rotate", "pkg/rotate/plan", "github.com/aws/...", "golang.org/x/sync/...", "internal/hint"}},
	{who: "pkg/pace", only: []string{"std", "pkg/rotate"}},
	{who: "pkg/seal", never: []string{"pkg/rotate", "pkg/store/..."}},
	{who: "pkg/store/sqlite", never: []string{"pkg/store/dynamodb", "pkg/awsiam", "github.com/aws/..."}},
	{who: "pkg/store/dynamodb", never: []string{"pkg/store/sqlite", "pkg/awsiam"}},
	{who: "pkg/audit", never: []string{"pkg/store/...", "pkg/seal", "pkg/awsiam", "github.com/aws/..."}},
	{who: "pkg/publish", only: []string{"std", "pkg/rotate", "internal/awscall", "internal/webhook", "internal/disk", "internal/sessmtp", "github.com/aws/aws-sdk-go-v2/aws"}},
	{who: "pkg/notify", never: []string{"pkg/store/...", "pkg/publish", "pkg/awsiam", "html/template"}},
	{who: "internal/awsanswer", only: []string{"std", "internal/hint", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/smithy-go/..."}},
	{who: "internal/bound", only: []string{"std", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/aws/transport/http"}},
	{who: "internal/awscall", only: []string{"std", "internal/awsanswer", "internal/bound", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/aws/signer/v4"}},
	{who: "pkg/deploy", never: []string{"pkg/rotate/..."}},
	{who: "internal/config", only: []string{"std", "internal/disk", "internal/sessmtp", "pkg/rotate/plan", "github.com/spf13/viper", "github.com/go-viper/mapstructure/v2", "go.yaml.in/yaml/v3"}},
	{who: "internal/sandbox", never: []string{"pkg/...", "internal/..."}},
	{who: "cmd/keyrot", only: []string{"os", "internal/cli", "cmd/keyrot/early"}},
	{who: "cmd/keyrot/early", only: []string{"std", "internal/getkey", "internal/getkey/quick", "cmd/keyrot/early/cache"}},
	{who: "cmd/keyrot/early/cache", only: []string{"std", "internal/getkey/quick", "internal/getkey/warm", "cmd/keyrot/early/agent"}},
	{who: "cmd/keyrot/early/agent", only: []string{"internal/getkey/quick"}},
}

// reserved says that only some packages may import something.
var reserved = []struct {
	what string
	who  []string
}{
	{"github.com/spf13/viper", []string{"internal/config"}},
	{"github.com/spf13/cobra", []string{"internal/cli"}},
	{"github.com/golang-jwt/jwt/v5", []string{"pkg/auth", "pkg/auth/callerid", "test/bench"}}, // the floor it is measured against
	{"github.com/prometheus/...", []string{"pkg/metrics"}},
	{"github.com/getkin/...", nil}, // tests only
	{"modernc.org/sqlite", []string{"pkg/store/sqlite", "test/bench"}},
	{"github.com/versity/...", []string{"internal/sandbox"}},
	{"internal/sandbox", []string{"internal/cli"}},
	{"internal/cli", []string{"cmd/keyrot"}},
	{"internal/config", []string{"internal/cli"}},
	{"pkg/rotate/rotatetest", []string{"internal/sim", "internal/difftest", "test/e2e/crowd"}}, // packages of tests
	{"testing", []string{"pkg/rotate/rotatetest", "internal/sim", "internal/difftest"}},
	{"text/template", nil}, // switches the linker's dead-code elimination off
	{"html/template", nil}, // the same
	{"github.com/wneessen/go-mail", []string{"pkg/notify"}},
	{"unsafe", nil},
}

// Every client of AWS asks for the service's own answers.
func TestClientsRequireAWSAnswers(t *testing.T) {
	t.Parallel()
	found := 0
	for _, p := range packages(t) {
		if p.ImportPath == "internal/sandbox" || strings.HasPrefix(p.ImportPath, "test/") {
			continue // talks to itself
		}
		for _, name := range p.GoFiles {
			code, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(code), ".NewFromConfig(") {
				found++
				if !strings.Contains(string(code), "awsanswer.Require(") {
					t.Errorf("%s/%s makes a client without awsanswer.Require", p.ImportPath, name)
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("%d files make clients, want all of them", found)
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			imp = strings.TrimPrefix(imp, module)
			for _, r := range rules {
				if r.who != p.ImportPath {
					continue
				}
				if r.only != nil && !slices.ContainsFunc(r.only, func(pattern string) bool { return matches(pattern, imp) }) {
					t.Errorf("%s imports %s; allowed are %v", p.ImportPath, imp, r.only)
				}
				if slices.ContainsFunc(r.never, func(pattern string) bool { return matches(pattern, imp) }) {
					t.Errorf("%s imports %s, which it must not know", p.ImportPath, imp)
				}
			}
			for _, r := range reserved {
				if matches(r.what, imp) && !slices.Contains(r.who, p.ImportPath) && !matches(r.what, p.ImportPath) {
					t.Errorf("%s imports %s, which only %v may", p.ImportPath, imp, r.who)
				}
			}
		}
	}
}

// TestClientIsLight keeps the SDK and the server's weight out of programs
// that only read credentials.
func TestClientIsLight(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.ImportPath != "pkg/client" {
			continue
		}
		for _, dep := range p.Deps {
			if strings.Contains(strings.Split(dep, "/")[0], ".") && !strings.HasPrefix(dep, module+"pkg/") {
				t.Errorf("pkg/client depends on %s", dep)
			}
		}
	}
}

// TestFilesAreShort keeps every file within what can be read at one go.
func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	const most = 400
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			raw, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(raw), "\n"); n > most {
				t.Errorf("%s/%s has %d lines, more than %d", p.ImportPath, name, n, most)
			}
		}
	}
}

func matches(pattern, path string) bool {
	if pattern == "std" {
		first, _, _ := strings.Cut(path, "/")
		return !strings.Contains(first, ".") && first != "pkg" && first != "internal" && first != "cmd"
	}
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == dir || strings.HasPrefix(path, dir+"/")
	}
	return pattern == path
}
