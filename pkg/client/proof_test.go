package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// TestProofTakesTheKeysPlace: it is sent for a token only, and the token goes
// alone after that. The file is read at every use.
func TestProofTakesTheKeysPlace(t *testing.T) {
	t.Parallel()
	var proofs []string
	expired := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Values("X-Api-Key")) > 0 {
			t.Error("an API key is sent")
		}
		switch {
		case r.URL.Path == api.PathToken:
			proofs = append(proofs, r.Header.Get("Authorization"))
			say(200, `{"token":"T","expires_in":300}`)(w, r)
		case r.Header.Get("Authorization") != "Bearer T" || expired:
			expired = false
			say(403, `{"message":"Forbidden","code":"forbidden"}`)(w, r)
		default:
			say(200, `{"AccessKeyId":"AKIA1","SecretAccessKey":"s","Expiration":"2026-03-01T12:12:00Z","UserName":"ci"}`)(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.b.c\n")
	c := &client.Client{Endpoint: srv.URL, APIKey: "K", Proof: client.OIDCFile(file)}
	for range 2 {
		if cred, err := c.Credential(t.Context(), "ci"); err != nil || cred.AccessKeyID != "AKIA1" {
			t.Fatalf("Credential = %v, %v", cred, err)
		}
	}
	put("d.e.f")
	expired = true
	if _, err := c.Credential(t.Context(), "ci"); err != nil {
		t.Errorf("with a token that the server takes no more: Credential = %v", err)
	}
	if got := strings.Join(proofs, ", "); got != "Bearer a.b.c, Bearer d.e.f" {
		t.Errorf("proofs = %s, want one for each token, as the file was", got)
	}
}

func TestProofsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	for name, text := range map[string]string{
		"empty": "", "not a token": "secret", "two tokens": "a.b.c\nd.e.f", "a header in it": "a.b.c\r\nX: y", "oversized": "a.b." + strings.Repeat("c", 9000),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &client.Client{Endpoint: "http://127.0.0.1:1", Proof: client.OIDCFile(file)}
		if _, err := c.Credential(t.Context(), "ci"); err == nil || errors.Is(err, client.ErrUnreachable) || len(text) > 4 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: Credential = %v, want an error about the file that does not show it", name, err)
		}
	}
	asked := false
	c := &client.Client{Endpoint: "http://keyrot.example", Proof: func(context.Context, time.Time) (string, string, error) { asked = true; return "", "", nil }}
	if _, err := c.Credential(t.Context(), "ci"); !errors.Is(err, client.ErrPlainHTTP) || asked {
		t.Errorf("over plain HTTP: Credential = %v, proof made %t, want ErrPlainHTTP and none", err, asked)
	}
}
