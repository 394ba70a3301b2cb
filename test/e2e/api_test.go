//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSchemathesis lets schemathesis (see e2e-api in the Makefile) ask the
// sandbox all that its description allows and much that it does not: no
// answer may be a 5xx or one that the description does not know.
func TestSchemathesis(t *testing.T) {
	ctx := t.Context()
	bin, err := BuildKeyrot(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k := &Keyrot{Bin: bin, Dir: t.TempDir(), Key: "schemathesis-key-of-the-sandbox", Env: []string{"KEYROT_SERVER_CALLER_RATE=100000", "KEYROT_SERVER_FAILURE_RATE=100000"}}
	p, err := start(ctx, filepath.Join(k.Dir, "serve.log"), "/readyz", k.env(), func(addr string) []string {
		return []string{filepath.Join(bin, "keyrot"), "serve", "--sandbox", "--listen", addr}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/generate-token", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", k.Key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var token struct{ Token string }
	if err := json.NewDecoder(res.Body).Decode(&token); err != nil {
		t.Fatal(err)
	}
	tool, err := filepath.Abs("../../.e2e/schemathesis/bin/schemathesis")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("%v: run make e2e-api, which installs it", err)
	}
	cmd := exec.CommandContext(ctx, tool, "run", p.URL+"/openapi.yaml", "--max-examples", "60",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
		"-H", "X-Api-Key: "+k.Key, "-H", "Authorization: Bearer "+token.Token)
	cmd.Dir = t.TempDir() // it leaves its examples there
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("schemathesis: %v\n%s", err, out)
	}
}
