package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/keyrot/keyrot/pkg/server"
)

// TestForwardedFor: hand-outs are recorded for the client, whatever others
// write into the header.
func TestForwardedFor(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	for _, tc := range []struct {
		name, remote string
		header       []string
		want         string
	}{
		{"a client that connects itself", "192.0.2.9:1", nil, "192.0.2.9"},
		{"a client that claims to be another", "192.0.2.9:1", []string{"198.51.100.1"}, "192.0.2.9"},
		{"a client behind a proxy", "10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a client behind a proxy that claims to be another", "10.0.0.1:1", []string{"203.0.113.7, 198.51.100.1"}, "198.51.100.1"},
		{"a client that claims to be another behind a proxy", "10.0.0.1:1", []string{"203.0.113.7, 10.0.0.8, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.7,198.51.100.1,10.9.9.9"}, "198.51.100.1"},
		{"two proxies, a header each", "10.0.0.1:1", []string{"203.0.113.7", "198.51.100.1", "10.9.9.9"}, "198.51.100.1"},
		{"a client among the proxies", "10.0.0.1:1", []string{"10.9.9.9"}, "10.9.9.9"},
		{"a proxy that adds the port", "10.0.0.1:1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "[2001:db8:ffff::1]:1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"IPv6 without a port", "[2001:db8:ffff::1]:1", []string{"2001:db8::7"}, "2001:db8::7"},
		{"a proxy that listens on both", "[::ffff:10.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"nonsense", "10.0.0.1:1", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"an empty value", "10.0.0.1:1", []string{"198.51.100.1, "}, "10.0.0.1"},
		{"a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "10.0.0.1"},
		{"escape sequences", "10.0.0.1:1", []string{"\x1b[2J"}, "10.0.0.1"},
		{"nonsense behind a second proxy", "10.0.0.1:1", []string{"nobody, 10.9.9.9"}, "10.9.9.9"},
	} {
		w := newWorld(t)
		w.srv = w.rebuild()
		w.srv.Proxies = proxies
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, ciKey, nil)
		r.RemoteAddr = tc.remote
		r.Header.Set("X-Api-Key", w.reader)
		r.Header.Set("Authorization", "Bearer "+w.token)
		r.Header["X-Forwarded-For"] = tc.header
		rec := httptest.NewRecorder()
		w.srv.Handler().ServeHTTP(rec, r)
		if rec.Code != http.StatusOK || len(w.disp.given) != 1 || w.disp.given[0].Addr != tc.want {
			t.Errorf("%s: %d, recorded for %+v, want %s", tc.name, rec.Code, w.disp.given, tc.want)
		}
	}
}

// TestNobodyIsTrustedByDefault: without trusted proxies the header is nothing.
func TestNobodyIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(t, "GET", ciKey, "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token, "X-Forwarded-For", "198.51.100.1")
	if got := w.disp.given[0].Addr; got != "192.0.2.1" {
		t.Errorf("recorded for %s, want the one that connected", got)
	}
}

// TestClientsOfOneProxyAreLimitedApart: one that guesses slows down itself.
func TestClientsOfOneProxyAreLimitedApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Limits = server.Limits{Failures: 0.1}
	w.srv = w.rebuild()
	w.srv.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	w.h = w.srv.Handler()
	guess := func(client string) int {
		return w.do(t, "POST", "/generate-token", "X-Api-Key", "krk_x", "X-Forwarded-For", client).Code
	}
	if a, b, c := guess("198.51.100.1"), guess("198.51.100.1"), guess("198.51.100.2"); a != 403 || b != 429 || c != 403 {
		t.Errorf("two guesses of one client and one of another = %d, %d, %d, want 403, 429, 403", a, b, c)
	}
}
