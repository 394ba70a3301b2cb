package server_test

import (
	"crypto/tls"
	"testing"

	"github.com/keyrot/keyrot/pkg/server"
)

func TestSafeHTTP2(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"go1.26.0": false, "go1.26.8": false, "go1.26.9": true, "go1.26.10": true, "go1.26.10 X:nodwarf5": true,
		"go1.27rc1": false, "go1.27.1": false, "go1.27.2": true, "go1.28.0": true, "devel go1.27-0123abc": false, "": false,
	} {
		if got := server.SafeHTTP2(release); got != want {
			t.Errorf("SafeHTTP2(%q) = %t, want %t", release, got, want)
		}
	}
}

// TestNoHTTP2: with server.http2: false, a client that offers HTTP/2 gets 1.1.
func TestNoHTTP2(t *testing.T) {
	t.Parallel()
	cert, key, pool := selfSigned(t, t.TempDir())
	addr := serveTLS(t, server.TLSFiles{Cert: cert, Key: key, NoHTTP2: true})
	_, state, err := shake(t, addr, &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("negotiated %q, %v, want http/1.1", state.NegotiatedProtocol, err)
	}
	if _, _, err := shake(t, addr, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}}); err == nil {
		t.Error("a client that speaks nothing but HTTP/2 was let in, want a refusal")
	}
}
