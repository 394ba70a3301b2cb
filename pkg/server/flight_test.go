package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/server"
)

// slowDispenser answers once it is released.
type slowDispenser struct{ asked, release chan struct{} }

func (d *slowDispenser) Give(context.Context, string, rotate.Recipient) (rotate.Credential, error) {
	d.asked <- struct{}{}
	<-d.release
	return rotate.Credential{}, rotate.ErrNoKeyReady
}

// from sends a request from that address and returns its answer.
func from(t *testing.T, h http.Handler, addr, method, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, body)
	r.RemoteAddr = net.JoinHostPort(addr, "1")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := &slowDispenser{make(chan struct{}), make(chan struct{})}
	w.srv.Limits = server.Limits{Requests: 8}
	w.srv.Credentials = slow
	h := w.rebuild().Handler()
	ask := func(addr string) int {
		return from(t, h, addr, "GET", ciKey, nil, "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token).Code
	}
	var held sync.WaitGroup
	hold := func(addr string) {
		held.Go(func() { ask(addr) })
		<-slow.asked
	}
	hold("192.0.2.1")
	hold("::ffff:192.0.2.1")
	rec := from(t, h, "192.0.2.1", "POST", "/generate-token", nil, "X-Api-Key", w.reader)
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || rec.Body.Len() > 0 {
		t.Errorf("the third request of an address = %d %q, want 503, Retry-After and no body", rec.Code, rec.Body)
	}
	if got := from(t, h, "192.0.2.1", "GET", "/healthz", nil).Code; got != http.StatusOK {
		t.Errorf("its probe = %d, want 200", got)
	}
	for n := 2; n < 8; n++ {
		hold(fmt.Sprintf("192.0.2.%d", n))
		if got := ask("192.0.2.2"); got != http.StatusServiceUnavailable {
			t.Errorf("the second request of an address, with %d answered = %d, want 503: others have none yet", n+1, got)
		}
	}
	if got := ask("192.0.2.8"); got != http.StatusServiceUnavailable {
		t.Errorf("the ninth request of all = %d, want 503", got)
	}
	close(slow.release)
	held.Wait()
	go func() { <-slow.asked }()
	if got := from(t, h, "192.0.2.1", "POST", "/generate-token", nil, "X-Api-Key", w.reader).Code; got != http.StatusOK {
		t.Errorf("after they were answered = %d, want 200", got)
	}
	if n := strings.Count(w.log.String(), "too many are being answered"); n != 1 {
		t.Errorf("it was logged %d times in a minute, want once", n)
	}
}

// TestFormsThatDoNotCome: few are waited for at once, and meanwhile the address
// that sends them can use the API.
func TestFormsThatDoNotCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv = w.rebuild()
	withPage(w)
	h := w.srv.Handler()
	var forms sync.WaitGroup
	var ends []*io.PipeWriter
	for range 16 {
		body, end := io.Pipe()
		ends = append(ends, end)
		forms.Go(func() { from(t, h, "192.0.2.1", "POST", "/login", body) })
		if _, err := end.Write([]byte("key=")); err != nil { // it is being read
			t.Fatal(err)
		}
	}
	body, _ := io.Pipe()
	if got := from(t, h, "192.0.2.1", "POST", "/login", body).Code; got != http.StatusServiceUnavailable {
		t.Errorf("the 17th form of an address = %d, want 503", got)
	}
	if got := from(t, h, "192.0.2.1", "POST", "/generate-token", nil, "X-Api-Key", w.reader).Code; got != http.StatusOK {
		t.Errorf("a token meanwhile = %d, want 200", got)
	}
	for _, end := range ends {
		_ = end.Close()
	}
	forms.Wait()
	long := strings.NewReader("key=" + strings.Repeat("x", 5000))
	if got := from(t, h, "192.0.2.1", "POST", "/login", long).Code; got != http.StatusRequestEntityTooLarge {
		t.Errorf("a form that is too long = %d, want 413", got)
	}
}

// pipes is a listener without a network.
type pipes struct {
	net.Listener
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.conns) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAFormIsWaitedForFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.srv = w.rebuild()
		w.srv.Health = &health{h: api.Health{Serving: 1}}
		withPage(w)
		ln := &pipes{conns: make(chan net.Conn, 1)}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- w.srv.Serve(ctx, ln) }()
		client, conn := net.Pipe()
		ln.conns <- conn
		began := time.Now()
		if _, err := client.Write([]byte("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if took := time.Since(began); res.StatusCode != http.StatusBadRequest || took != 5*time.Second || !res.Close {
			t.Errorf("a form that does not come = %d after %s, closed: %t, want 400 after 5s and the end", res.StatusCode, took, res.Close)
		}
		_ = client.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
