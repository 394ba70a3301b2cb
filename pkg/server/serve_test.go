package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/server"
)

// slowHealth answers only when released.
type slowHealth struct{ asked, release chan struct{} }

func (h *slowHealth) Health(context.Context) (api.Health, error) {
	close(h.asked)
	<-h.release
	return api.Health{Users: 1, Serving: 1}, nil
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func get(ctx context.Context, c *http.Client, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Body.Close()
}

func TestServeFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	h := &slowHealth{make(chan struct{}), make(chan struct{})}
	s := &server.Server{Health: h}
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan int, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	go func() {
		status, err := get(t.Context(), http.DefaultClient, "http://"+ln.Addr().String()+"/healthz")
		if err != nil {
			t.Error(err)
		}
		answered <- status
	}()
	<-h.asked
	stop()
	for { // the listener closes although a request is in flight
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(h.release)
	if got := <-answered; got != 200 {
		t.Errorf("the request in flight got %d, want 200", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	_ = ln.Close()
	if err := (&server.Server{}).Serve(t.Context(), ln); err == nil {
		t.Error("Serve on a closed listener = nil, want an error")
	}
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, pool := selfSigned(t, dir)
	conf, err := server.TLSFiles{Cert: certFile, Key: keyFile}.Config()
	if err != nil {
		t.Fatal(err)
	}
	s := &server.Server{Health: &health{h: api.Health{Serving: 1}}, TLS: conf}
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if status, err := get(t.Context(), client, "https://"+ln.Addr().String()+"/readyz"); status != 200 {
		t.Errorf("GET over TLS = %d, %v, want 200", status, err)
	}
	client.CloseIdleConnections()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if _, err := (server.TLSFiles{Cert: filepath.Join(dir, "none"), Key: keyFile}).Config(); err == nil {
		t.Error("Config(missing certificate) = nil, want an error")
	}
	if _, err := (server.TLSFiles{Cert: certFile, Key: certFile}).Config(); err == nil {
		t.Error("Config(certificate as key) = nil, want an error")
	}
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keyrot test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, raw := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return certFile, keyFile, pool
}
