package cli

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/auth/callerid"
	"github.com/keyrot/keyrot/pkg/server"
)

func TestIdentitiesAreJoined(t *testing.T) {
	t.Parallel()
	s := &system{server: &server.Server{Tokens: &auth.Tokens{}}}
	if err := s.identities(t.Context(), config.Server{}, aws.Config{}, time.Now); err != nil || s.server.Identities != nil {
		t.Errorf("without identities: %v, %v, want none", s.server.Identities, err)
	}
	cfg := config.Server{ID: "k.example", Identities: []config.Identity{
		{Name: "a", Kind: "aws", ARNs: []string{"arn"}, Users: []string{"u"}},
		{Name: "o", Kind: "oidc", Issuer: "i", Audience: "x", Subjects: []string{"s"}, JWKSFile: "f", Role: "viewer"},
	}}
	if err := s.identities(t.Context(), cfg, aws.Config{}, time.Now); err == nil || !strings.Contains(err.Error(), "server.sts_regions") {
		t.Errorf("without a region: %v, want an error about server.sts_regions", err)
	}
	if err := s.identities(t.Context(), cfg, aws.Config{Region: "eu-west-1"}, time.Now); err != nil {
		t.Fatal(err)
	}
	v, ok := s.server.Identities.(*callerid.Verifier)
	if !ok || v.ServerID != "k.example" || v.STS["eu-west-1"] != "https://sts.eu-west-1.amazonaws.com" || len(v.STS) != 1 || s.server.Tokens.External == nil {
		t.Errorf("identities = %+v", v)
	}
	if v.Identities[0].Role != auth.Reader || v.Identities[1].Role != auth.Viewer || v.Identities[0].AWS == nil || v.Identities[1].OIDC.JWKSFile != "f" {
		t.Errorf("identities = %+v", v.Identities)
	}
	cfg.STSRegions = []string{"cn-north-1", "us-east-1"}
	if err := s.identities(t.Context(), cfg, aws.Config{Region: "eu-west-1"}, time.Now); err != nil {
		t.Fatal(err)
	}
	v, _ = s.server.Identities.(*callerid.Verifier)
	if v.STS["cn-north-1"] != "https://sts.cn-north-1.amazonaws.com.cn" || v.STS["eu-west-1"] != "" || len(v.STS) != 2 {
		t.Errorf("STS = %v", v.STS)
	}
}

// TestClientsIdentity: agent and exec choose the proof as get-key does.
func TestClientsIdentity(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, _, _ := testEnv(t, nil)
	with := func(flags map[string]any) common { return common{File: os.DevNull, Flags: flags} }
	c, err := e.newClient(t.Context(), with(map[string]any{"oidc_token_file": file}), false)
	if err != nil || c.Proof == nil {
		t.Fatalf("newClient = %+v, %v, want a proof", c, err)
	}
	if header, value, err := c.Proof(t.Context(), time.Now()); err != nil || header != "Authorization" || value != "Bearer a.b.c" {
		t.Errorf("Proof = %q, %q, %v", header, value, err)
	}
	if _, err := e.newClient(t.Context(), with(map[string]any{"identity": "saml"}), false); !errors.Is(err, getkey.ErrUsage) {
		t.Errorf("newClient by saml = %v, want ErrUsage", err)
	}
	if _, err := e.newClient(t.Context(), with(nil), false); !errors.Is(err, getkey.ErrNoAPIKey) {
		t.Errorf("newClient by nothing = %v, want ErrNoAPIKey", err)
	}
}

// TestClientsKeyIsReadAgain: agent and exec notice that their API key was
// rotated.
func TestClientsKeyIsReadAgain(t *testing.T) {
	t.Parallel()
	var good atomic.Value
	good.Store("first")
	refused := func() {} // what happens just before a refusal is answered
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get(api.HeaderAPIKey) != good.Load():
			refused()
			status, body := api.Answer(api.ErrForbidden)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body)
		case r.URL.Path == api.PathToken:
			_ = json.NewEncoder(w).Encode(api.Token{Token: "T", ExpiresIn: 300})
		default:
			_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: "A", SecretAccessKey: "s", Expiration: time.Now().Add(time.Hour)})
		}
	}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "key")
	write := func(key string) {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("first\n")
	e, _, _ := testEnv(t, nil)
	c, err := e.newClient(t.Context(), common{File: os.DevNull, Flags: map[string]any{"api_key_file": file, "endpoint": srv.URL}}, false)
	if err != nil {
		t.Fatal(err)
	}
	works := func(when string) {
		t.Helper()
		if _, err := c.Credential(t.Context(), "ci"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	works("at first")
	good.Store("second")
	if _, err := c.Credential(t.Context(), "ci"); !errors.Is(err, api.ErrForbidden) {
		t.Errorf("with a revoked key: %v, want ErrForbidden", err)
	}
	write("second\n")
	works("after the file was replaced")
	good.Store("third")
	refused = func() { write("third\n") }
	works("the file is replaced while the old key is being refused")
	refused = func() {}
	write("")
	works("with an empty file the last key stays in use")
}
