package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/server"
)

// serveTLS serves with the files until the test ends.
func serveTLS(t *testing.T, f server.TLSFiles) (addr string) {
	t.Helper()
	conf, err := f.Config()
	if err != nil {
		t.Fatal(err)
	}
	s := &server.Server{Health: &health{h: api.Health{Serving: 1}}, TLS: conf}
	ln := listen(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// shake makes a handshake and returns the certificate that the server showed.
func shake(t *testing.T, addr string, conf *tls.Config) (*x509.Certificate, tls.ConnectionState, error) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	return state.PeerCertificates[0], state, nil
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, pool := selfSigned(t, dir)
	var clock atomic.Int64
	var log bytes.Buffer
	addr := serveTLS(t, server.TLSFiles{
		Cert: certFile, Key: keyFile, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Now: func() time.Time { return time.Unix(clock.Load(), 0) },
	})
	first, _, err := shake(t, addr, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	renewed := t.TempDir()
	newCert, newKey, newPool := selfSigned(t, renewed)
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(newCert, certFile) // half a renewal: the key does not fit yet
	clock.Add(10)
	if got, _, err := shake(t, addr, &tls.Config{RootCAs: pool}); err != nil || !got.Equal(first) {
		t.Errorf("during a renewal: %v, want the old certificate", err)
	}
	move(newKey, keyFile)
	if got, _, err := shake(t, addr, &tls.Config{RootCAs: pool}); err != nil || !got.Equal(first) {
		t.Errorf("before the next look: %v, want the old certificate", err)
	}
	clock.Add(10)
	got, _, err := shake(t, addr, &tls.Config{RootCAs: newPool})
	if err != nil || got.Equal(first) {
		t.Errorf("after the renewal: %v, want the new certificate", err)
	}
	if !strings.Contains(log.String(), "cannot be used") || !strings.Contains(log.String(), "read again") {
		t.Errorf("log = %s", &log)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	clock.Add(10)
	if again, _, err := shake(t, addr, &tls.Config{RootCAs: newPool}); err != nil || !again.Equal(got) {
		t.Errorf("with a file gone: %v, want the certificate as it was", err)
	}
}

func TestTLSIsModern(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := selfSigned(t, t.TempDir())
	addr := serveTLS(t, server.TLSFiles{Cert: certFile, Key: keyFile})
	if _, _, err := shake(t, addr, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil { // #nosec G402 -- must be refused
		t.Error("TLS 1.1 was accepted")
	}
	weak := []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA} // #nosec G402 -- must be refused
	if _, _, err := shake(t, addr, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12, CipherSuites: weak}); err == nil {
		t.Error("a weak suite was accepted")
	}
	_, state, err := shake(t, addr, &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
		t.Errorf("negotiated %x %q, %v, want TLS 1.3 and h2", state.Version, state.NegotiatedProtocol, err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.StatusCode != 200 || res.ProtoMajor != 2 || err != nil {
		t.Errorf("GET over HTTP/2 = %s %s %s, %v", res.Proto, res.Status, body, err)
	}
}

func TestClientsNeedTheirCertificate(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := selfSigned(t, t.TempDir())
	clientDir := t.TempDir()
	clientCert, clientKey, _ := selfSigned(t, clientDir)
	strangerCert, strangerKey, _ := selfSigned(t, t.TempDir())
	addr := serveTLS(t, server.TLSFiles{Cert: certFile, Key: keyFile, ClientCA: clientCert})
	ask := func(certFile, keyFile string) (int, error) {
		conf := &tls.Config{RootCAs: pool}
		if certFile != "" {
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
		defer client.CloseIdleConnections()
		return get(t.Context(), client, "https://"+addr+"/readyz")
	}
	if status, err := ask(clientCert, clientKey); status != 200 {
		t.Errorf("with a good certificate = %d, %v", status, err)
	}
	if status, err := ask(strangerCert, strangerKey); err == nil {
		t.Errorf("with a stranger's certificate = %d", status)
	}
	if status, err := ask("", ""); err == nil {
		t.Errorf("without a certificate = %d", status)
	}
	empty := filepath.Join(clientDir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{empty, filepath.Join(clientDir, "none.pem")} {
		if _, err := (server.TLSFiles{Cert: certFile, Key: keyFile, ClientCA: ca}).Config(); err == nil {
			t.Errorf("Config(client CA %s) = nil, want an error", ca)
		}
	}
}
