package fetch_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
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

func TestRenewedCertificatesAreTrusted(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(ca, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	right := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	write(other(t))
	h, err := fetch.HTTPClient(ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func() error {
		res, err := h.Get(srv.URL) //nolint:noctx // a test
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	if err := get(); err == nil {
		t.Error("a server with another certificate is trusted")
	}
	write(right)
	if err := get(); err != nil {
		t.Errorf("after the file was renewed: %v", err)
	}
	write([]byte("half a fi"))
	if err := get(); err != nil {
		t.Errorf("with a file that cannot be used: %v, want the old certificates to stay", err)
	}
	write(other(t))
	if err := get(); err == nil {
		t.Error("a server whose certificate was taken out of the file is trusted")
	}
}

// other is a certificate that no server here has.
func other(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestHTTPClient(t *testing.T) {
	t.Parallel()
	if _, err := fetch.HTTPClient(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, getkey.ErrUsage) {
		t.Errorf("a missing file: %v, want ErrUsage", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch.HTTPClient(empty, nil); !errors.Is(err, getkey.ErrUsage) {
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
		{"a gateway's refusal", api.FromAnswer(403, api.Error{Message: "Forbidden"}), 1, "x: hint: ask who runs the gateway"},
		{"something else", errors.New("y"), 1, "x: error: y\n"},
	} {
		var b bytes.Buffer
		if code := fetch.Report(&b, "x", tc.err); code != tc.code || !strings.HasPrefix(b.String(), tc.says) && !strings.Contains(b.String(), tc.says) {
			t.Errorf("%s: Report = %d, want %d, %q:\n%s", tc.name, code, tc.code, tc.says, b.String())
		}
	}
}
