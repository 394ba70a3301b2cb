package fetch_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/fetch"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

func TestPinnedCertificate(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == api.PathToken {
			_ = json.NewEncoder(w).Encode(api.Token{Token: "T", ExpiresIn: 300})
			return
		}
		_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: "A", SecretAccessKey: "s", Expiration: time.Now().Add(time.Hour)})
	}))
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := getkey.Source{Endpoint: srv.URL, APIKey: "K", CAFile: ca}
	if e, err := fetch.Fetch(t.Context(), s, "ci", getkey.Entry{}); err != nil || e.Credential.AccessKeyID != "A" || e.Token != "T" || e.Next.IsZero() {
		t.Errorf("Fetch = %v, %v", e.Credential, err)
	}
	s.CAFile = ""
	if _, err := fetch.Fetch(t.Context(), s, "ci", getkey.Entry{}); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("without the certificate: %v, want ErrUnreachable", err)
	}
}

func TestHTTPClient(t *testing.T) {
	t.Parallel()
	if _, err := fetch.HTTPClient(filepath.Join(t.TempDir(), "none")); !errors.Is(err, getkey.ErrUsage) {
		t.Errorf("a missing file: %v, want ErrUsage", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch.HTTPClient(empty); !errors.Is(err, getkey.ErrUsage) {
		t.Errorf("a file without certificate: %v, want ErrUsage", err)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		code int
		says string
	}{
		{"success says nothing", nil, 0, ""},
		{"no API key", getkey.ErrNoAPIKey, 2, "x: error: no API key is given\nx: hint: set KEYROT_API_KEY"},
		{"nobody there", client.ErrUnreachable, 1, "x: hint: start it"},
		{"not allowed", api.FromAnswer(403, api.Error{Code: "user_not_allowed"}), 2, "x: hint: make a key for this user"},
		{"something else", errors.New("y"), 1, "x: error: y\n"},
	} {
		var b bytes.Buffer
		if code := fetch.Report(&b, "x", tc.err); code != tc.code || !strings.HasPrefix(b.String(), tc.says) && !strings.Contains(b.String(), tc.says) {
			t.Errorf("%s: Report = %d, want %d, %q:\n%s", tc.name, code, tc.code, tc.says, b.String())
		}
	}
}
