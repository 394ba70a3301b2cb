package server_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/server"
)

// withPage adds a status page to the server of w.
func withPage(w *world) {
	w.srv.Page = &page.Page{
		Keys: w.srv.Keys, History: &page.History{}, Policy: func(string) plan.Policy { return plan.Policy{} },
		Now: w.srv.Keys.Now,
	}
	w.srv.Page.Roster = &rotate.Roster{Store: &rotatetest.MemStore{}, Policy: w.srv.Page.Policy, Now: time.Now}
}

func TestPageStandsBesideTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withPage(w)
	h := w.srv.Handler()
	for path, want := range map[string]int{"/": http.StatusSeeOther, "/login": http.StatusOK, "/assets/app.css": http.StatusOK, "/healthz": http.StatusOK, "/nothing": http.StatusNotFound} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("GET %s = %d, want %d", path, rec.Code, want)
		}
	}
}

// TestLoginCountsAgainstLimits: refused ones against those of the address,
// good ones against those of the key, as everywhere else.
func TestLoginCountsAgainstLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv = w.rebuild()
	w.srv.Now = w.srv.Keys.Now
	w.srv.Limits = server.Limits{Failures: 1, Caller: 2}
	withPage(w)
	h := w.srv.Handler()
	login := func(key string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader(url.Values{"key": {key}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Code
	}
	for range 10 {
		if got := login("krk_guess"); got != http.StatusForbidden {
			t.Fatalf("a wrong key = %d, want 403", got)
		}
	}
	if got := login("krk_guess"); got != http.StatusTooManyRequests {
		t.Errorf("the eleventh wrong key = %d, want 429", got)
	}
	if w.h = h; w.do(t, "POST", "/generate-token", "X-Api-Key", "krk_guess").Code != http.StatusTooManyRequests {
		t.Error("guesses at the API are counted apart from guesses at the page")
	}
	for i, want := range []int{303, 303, 303, 303, 429} {
		if got := login(w.viewer); got != want {
			t.Errorf("log-in %d with a good key = %d, want %d", i, got, want)
		}
	}
}

// TestShutdownEndsStreams: a browser that looks on does not keep the server.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withPage(w)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.srv.Serve(ctx, ln) }()
	k, _ := w.srv.Keys.ByID(t.Context(), w.viewer[4:16])
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string, c *http.Cookie) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			r.AddCookie(c)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	cookies := get(w.srv.Page.Link(k), nil).Cookies() //nolint:bodyclose // get closes it when the test ends
	if len(cookies) != 1 {
		t.Fatal("the link gives no cookie")
	}
	in := bufio.NewScanner(get("/events", cookies[0]).Body) //nolint:bodyclose // get closes it when the test ends
	in.Buffer(nil, 1<<20)
	for in.Scan() && !strings.HasPrefix(in.Text(), "data:") {
	}
	cancel()
	for in.Scan() { // ends when the stream does
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}
