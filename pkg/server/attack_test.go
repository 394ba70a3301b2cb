package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAnotherTenantsUser asks with ciOnly's good key and token for a user
// that it may not read, in every spelling that a parser might let through.
func TestAnotherTenantsUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	given := w.disp.creds["ci"]
	given.User = "root"
	w.disp.creds["root"] = given
	for _, query := range []string{
		"username=root", "username=ROOT", "username=%72oot", "username=ci&username=root", "username=root&username=ci",
		"username=ci%00root", "username=ci%26username%3Droot", "username=ci;username=root", "username=ci%3Busername=root",
		"Username=root&username=root", "username[]=root", "username=ci%20", "username=%20root", "username=../root",
		"username=ci%2F..%2Froot", "username=root%0d%0aX-Api-Key:%20x", "username=c%D1%96", "username=ro%6Ft%E2%80%8B",
		"username=%EF%BD%92%EF%BD%8F%EF%BD%8F%EF%BD%94", "username=*", "username=%2A", "username=[a-z]*", "username=ci%",
		"username=%E0%A4%A", "username=" + strings.Repeat("a", 65), "user=root", "", "username=", "username=%F0%9F%94%91",
	} {
		r := &http.Request{
			Method: "GET", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "x", RemoteAddr: "192.0.2.1:1", Body: http.NoBody,
			URL:    &url.URL{Path: "/active-key", RawQuery: query},
			Header: http.Header{"X-Api-Key": {w.ciOnly}, "Authorization": {"Bearer " + w.ciToken}},
		}
		res := httptest.NewRecorder()
		w.h.ServeHTTP(res, r.WithContext(t.Context()))
		if res.Code != 400 && res.Code != 403 || strings.Contains(res.Body.String(), secret) {
			t.Errorf("GET /active-key?%s = %d %s, want 400 or 403", query, res.Code, res.Body)
		}
		checkContract(t, r, res)
	}
	w.disp.mu.Lock()
	defer w.disp.mu.Unlock()
	if len(w.disp.given) != 0 {
		t.Errorf("the dispenser was asked %d times: %+v", len(w.disp.given), w.disp.given)
	}
}

// TestCredentialsInOddPlaces presents good credentials in ways that are not
// the documented one.
func TestCredentialsInOddPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bearer := "Bearer " + w.token
	for _, tc := range []struct {
		name   string
		target string
		header []string
		want   int
	}{
		{"another caller's token", ciKey, []string{"X-Api-Key", w.ciOnly, "Authorization", bearer}, 401},
		{"two API keys", ciKey, []string{"X-Api-Key", w.reader, "X-Api-Key", w.ciOnly, "Authorization", bearer}, 403},
		{"the same API key twice", ciKey, []string{"X-Api-Key", w.reader, "X-Api-Key", w.reader, "Authorization", bearer}, 403},
		{"two keys in one header", ciKey, []string{"X-Api-Key", w.reader + "," + w.ciOnly, "Authorization", bearer}, 403},
		{"two tokens", ciKey, []string{"X-Api-Key", w.reader, "Authorization", bearer, "Authorization", bearer}, 401},
		{"the token as basic", ciKey, []string{"X-Api-Key", w.reader, "Authorization", "Basic " + w.token}, 401},
		{"the token without scheme", ciKey, []string{"X-Api-Key", w.reader, "Authorization", w.token}, 401},
		{"two spaces", ciKey, []string{"X-Api-Key", w.reader, "Authorization", "Bearer  " + w.token}, 401},
		{"the API key as token", ciKey, []string{"X-Api-Key", w.reader, "Authorization", "Bearer " + w.reader}, 401},
		{"the token as API key", ciKey, []string{"X-Api-Key", w.token, "Authorization", bearer}, 403},
		{"the token only", ciKey, []string{"Authorization", bearer}, 403},
		{"the key in the query", ciKey + "&x-api-key=" + w.reader, []string{"Authorization", bearer}, 403},
		{"the token in the query", ciKey + "&token=" + w.token, []string{"X-Api-Key", w.reader}, 401},
		{"in cookies", ciKey, []string{"Cookie", "X-Api-Key=" + w.reader + "; token=" + w.token}, 403},
		{"an overlong token", ciKey, []string{"X-Api-Key", w.reader, "Authorization", "Bearer " + strings.Repeat("a", 9000)}, 401},
		{"an overlong key", ciKey, []string{"X-Api-Key", strings.Repeat("krk_", 3000), "Authorization", bearer}, 403},
		{"a method override", ciKey, []string{"X-HTTP-Method-Override", "POST", "X-Api-Key", "x"}, 403},
		{"a rewritten path", "/healthz", []string{"X-Original-URL", ciKey, "X-Rewrite-URL", ciKey}, 200},
		{"a forwarded address", ciKey, []string{"X-Forwarded-For", "127.0.0.1", "X-Api-Key", "x"}, 403},
	} {
		if res := w.do(t, "GET", tc.target, tc.header...); res.Code != tc.want || strings.Contains(res.Body.String(), secret) {
			t.Errorf("%s: GET %s = %d %s, want %d", tc.name, tc.target, res.Code, res.Body, tc.want)
		}
	}
}

// TestOtherMethodsAndPaths asks for routes in ways that are not offered, with
// good credentials.
func TestOtherMethodsAndPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/active-key", "/generate-token", "/container-credentials/ci", "/healthz", "/readyz", "/livez", "/openapi.yaml"} {
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "X"} {
			if method == "HEAD" && (strings.HasSuffix(path, "z") || path == "/openapi.yaml") {
				continue // which are offered: TestProbesByHEAD
			}
			r := httptest.NewRequestWithContext(t.Context(), "GET", path+"?username=ci", nil)
			r.Method = method
			r.Header = http.Header{"X-Api-Key": {w.reader}, "Authorization": {"Bearer " + w.token}}
			res := httptest.NewRecorder()
			w.h.ServeHTTP(res, r)
			if res.Code != 405 || res.Header().Get("Allow") == "" {
				t.Errorf("%s %s = %d, Allow %q, want 405", method, path, res.Code, res.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{
		"/Active-Key", "/active-key/", "/active-key/x", "/active-key%00", "/active-key%2f", "/./active-key", "//active-key",
		"/x/../active-key", "/%61ctive-key/..%2f", "/active-key;x=1", "/.git/config", "/debug/pprof/", "/metrics", "/..%2f..%2fetc/passwd",
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			continue // the server's parser refuses it, too
		}
		u.RawQuery = "username=ci"
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.URL = u
		r.Header = http.Header{"X-Api-Key": {w.ciOnly}, "Authorization": {"Bearer " + w.ciToken}}
		res := httptest.NewRecorder()
		w.h.ServeHTTP(res, r)
		if res.Code == 200 || res.Code >= 500 {
			t.Errorf("GET %s = %d %s", path, res.Code, res.Body)
		}
	}
}

// raw sends bytes as they are and returns the status lines of all answers.
func raw(t *testing.T, addr, text string) []string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	r := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return lines
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		lines = append(lines, res.Status[:3])
	}
}

// TestSmuggling sends requests about whose length two parsers might disagree.
// None may be answered as two, and none as a success.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := serve(t, w)
	const smuggled = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
	post := "POST /generate-token HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + w.reader + "\r\n"
	for name, text := range map[string]string{
		"two different Content-Lengths":   post + "Content-Length: 0\r\nContent-Length: 35\r\n\r\n" + smuggled,
		"a list of Content-Lengths":       post + "Content-Length: 0, 35\r\n\r\n" + smuggled,
		"a negative Content-Length":       post + "Content-Length: -1\r\n\r\n" + smuggled,
		"a signed Content-Length":         post + "Content-Length: +0\r\n\r\n" + smuggled,
		"a hexadecimal Content-Length":    post + "Content-Length: 0x0\r\n\r\n" + smuggled,
		"an unknown transfer coding":      post + "Transfer-Encoding: xchunked\r\n\r\n" + smuggled,
		"two transfer codings":            post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"two Transfer-Encoding headers":   post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"a space before the colon":        post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a header that goes on (folding)": "POST /generate-token HTTP/1.1\r\nHost: x\r\n X-Api-Key: " + w.reader + "\r\n\r\n" + smuggled,
		"a control character in a header": post + "X-Y: a\x00b\r\n\r\n" + smuggled,
		"no Host":                         "GET /active-key?username=ci HTTP/1.1\r\nX-Api-Key: " + w.reader + "\r\n\r\n" + smuggled,
		"two Hosts":                       "GET /active-key?username=ci HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Api-Key: " + w.reader + "\r\n\r\n" + smuggled,
		"a line feed in the target":       "GET /active-key?username=ci\nX: y HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled,
		"HTTP/9.9":                        "GET /readyz HTTP/9.9\r\nHost: x\r\n\r\n" + smuggled,
		"an oversized header":             "GET /readyz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n" + smuggled,
		"an oversized target":             "GET /readyz?" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled,
	} {
		got := raw(t, addr, text)
		if len(got) > 1 || len(got) == 1 && got[0][0] == '2' {
			t.Errorf("%s: answers %v, want one refusal", name, got)
		}
	}
	// Content-Length beside chunked: RFC 9112 §6.1 lets the chunked one count,
	// and the connection must end after the answer.
	both := post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
	if got := raw(t, addr, both); len(got) != 1 {
		t.Errorf("CL beside TE: answers %v, want one and the end of the connection", got)
	}
	if got := raw(t, addr, smuggled+smuggled); len(got) != 2 {
		t.Errorf("two honest requests: answers %v, want two: the rows above prove nothing", got)
	}
}

func serve(t *testing.T, w *world) (addr string) {
	t.Helper()
	ln := listen(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// TestSlowClients opens connections that never finish a request: others are
// served meanwhile, and the slow ones are cut off by the header time-out.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := serve(t, w)
	var slow []net.Conn
	for i := range 50 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /readyz HTTP/1.1\r\nHost: x\r\nX-%d:", i); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	if got := raw(t, addr, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); len(got) != 1 || got[0] != "200" {
		t.Errorf("beside slow clients: answers %v, want 200", got)
	}
	for _, conn := range slow {
		// A byte now and then does not prolong it.
		if _, err := io.WriteString(conn, "a"); err != nil {
			continue
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(conn) // an end or a reset, both are fine
		if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(rest), " 200 ") {
			t.Errorf("a slow client got %q, %v, want the end of the connection", rest, err)
		}
	}
}
