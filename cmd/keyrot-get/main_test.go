package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// TestThin keeps out what would make SDKs wait: the list is what may come from
// outside the standard library.
func TestThin(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"github.com/keyrot/keyrot/cmd/keyrot-get": true, "github.com/keyrot/keyrot/internal/getkey": true,
		"github.com/keyrot/keyrot/internal/getkey/fetch": true, "github.com/keyrot/keyrot/internal/getkey/profile": true, "github.com/keyrot/keyrot/cmd/keyrot/early": true,
		"github.com/keyrot/keyrot/cmd/keyrot/early/agent": true, "github.com/keyrot/keyrot/cmd/keyrot/early/cache": true,
		"github.com/keyrot/keyrot/internal/getkey/quick": true, "github.com/keyrot/keyrot/internal/getkey/entry": true, "github.com/keyrot/keyrot/internal/getkey/warm": true,
		"github.com/keyrot/keyrot/internal/hint": true, "github.com/keyrot/keyrot/internal/disk": true, "github.com/keyrot/keyrot/internal/harden": true,
		"github.com/keyrot/keyrot/internal/trust": true, "github.com/keyrot/keyrot/internal/printable": true,
		"github.com/keyrot/keyrot/internal/awsconfig": true, "github.com/keyrot/keyrot/internal/sessmtp": true,
		"github.com/keyrot/keyrot/pkg/api": true, "github.com/keyrot/keyrot/pkg/client": true,
		"github.com/gofrs/flock": true, "golang.org/x/sys/unix": true, "golang.org/x/sys/windows": true,
		"golang.org/x/crypto/nacl/secretbox": true, "golang.org/x/crypto/salsa20": true, "golang.org/x/crypto/salsa20/salsa": true,
		"golang.org/x/crypto/internal/alias": true, "golang.org/x/crypto/internal/poly1305": true,
	}
	for dep := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(dep, "/")
		if strings.Contains(first, ".") && !allowed[dep] {
			t.Errorf("keyrot-get depends on %s", dep)
		}
	}
}

// TestAGatewayIsAskedAgain: it answers the first request in the server's place.
func TestAGatewayIsAskedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first := asked.Add(1) == 1; {
		case first:
			http.Error(w, `{"message":"Forbidden"}`, http.StatusForbidden)
		case r.URL.Path == api.PathToken:
			_ = json.NewEncoder(w).Encode(api.Token{Token: "T", ExpiresIn: 300})
		default:
			_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: "AKIA1", SecretAccessKey: "s", Expiration: time.Now().Add(time.Hour)})
		}
	}))
	t.Cleanup(srv.Close)
	var out, errs bytes.Buffer
	code := run([]string{"--user", "ci", "--no-cache", "--no-agent", "--endpoint", srv.URL, "--api-key-file", "testdata/key"}, &out, &errs)
	if code != 0 || !strings.Contains(out.String(), "AKIA1") {
		t.Errorf("run = %d, want 0 and a key:\n%s%s", code, out.String(), errs.String())
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	exposed := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(exposed, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{exposed, filepath.Dir(exposed), filepath.Dir(filepath.Dir(exposed))} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help is an answer", []string{"--help"}, 0, "write-profile"},
		{"an unknown flag", []string{"--nope"}, 2, "not defined"},
		{"an argument too many", []string{"--user", "ci", "x"}, 2, `unexpected argument "x"`},
		{"no user", nil, 2, "--user is missing"},
		{"an unknown format", []string{"--user", "ci", "--format", "xml"}, 2, `"xml" is not one of`},
		{"signing needs the AWS SDK", []string{"--user", "ci", "--identity", "aws", "--no-agent"}, 2, `needs "keyrot get-key"`},
		{"a token file that is not there", []string{"--user", "ci", "--oidc-token-file", "testdata/none", "--no-agent"}, 2, "reading the OIDC token"},
		{"an API key that others can change", []string{"--user", "ci", "--no-agent", "--api-key-file", exposed}, 2, "can be changed by others"},
		{"nobody answers", []string{"--user", "ci", "--no-cache", "--no-agent", "--endpoint", "http://127.0.0.1:1", "--api-key-file", "testdata/key"}, 1, "cannot be reached"},
	} {
		var out, errs bytes.Buffer
		code := run(tc.args, &out, &errs)
		if both := out.String() + errs.String(); code != tc.code || !strings.Contains(both, tc.says) {
			t.Errorf("%s: run(%q) = %d, want %d, with %q:\n%s", tc.name, tc.args, code, tc.code, tc.says, both)
		}
		if code == 2 && out.Len() > 0 {
			t.Errorf("%s: standard output has %q", tc.name, out.String())
		}
	}
}
