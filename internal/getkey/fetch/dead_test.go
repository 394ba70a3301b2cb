package fetch

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.IPAddr{} }

// swallowed is a connection that, once dead, takes what is written and brings
// nothing, as one that a gateway has forgotten.
type swallowed struct {
	net.Conn
	dead *atomic.Bool
}

func (s swallowed) Write(b []byte) (int, error) {
	if s.dead.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// A connection of HTTP/2 that has died is given up, and the next attempt has
// another one.
func TestADeadConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	cert := httptest.NewTLSServer(nil)
	cert.Close()
	synctest.Test(t, func(t *testing.T) {
		ln, srv := make(pipes), &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
			TLSConfig:         &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: time.Second,
		}
		go func() { _ = srv.ServeTLS(ln, "", "") }()
		defer func() { close(ln); _ = srv.Close() }()
		var first atomic.Bool
		conns := 0
		via := transport()
		via.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		via.DialContext = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			ln <- there
			if conns++; conns == 1 {
				return swallowed{here, &first}, nil
			}
			return here, nil
		}
		defer via.CloseIdleConnections()
		h := &http.Client{Transport: via, Timeout: httpTimeout}
		get := func() (string, error) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://keyrot.example/", nil)
			if err != nil {
				return "", err
			}
			res, err := h.Do(req)
			if err != nil {
				return "", err
			}
			defer func() { _ = res.Body.Close() }()
			raw, err := io.ReadAll(res.Body)
			return string(raw), err
		}
		if proto, err := get(); err != nil || proto != "HTTP/2.0" {
			t.Fatalf("the first answer = %q, %v, want one over HTTP/2", proto, err)
		}
		first.Store(true)
		_, _ = get() // lost
		if _, err := get(); err != nil || conns != 2 {
			t.Errorf("after an answer was lost: %v over connection %d, want another one", err, conns)
		}
	})
}
