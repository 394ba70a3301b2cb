package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" // #nosec G101 -- AWS's documented example

// world is a page over a store in memory, at a clock that the test moves.
type world struct {
	store *rotatetest.MemStore
	keys  *auth.Keys
	page  *page.Page
	h     http.Handler
	log   string

	mu    sync.Mutex
	clock time.Time
	fail  error

	viewer, narrow, operator string // API keys
	viewerID                 string
	viewerKey                auth.Key
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) move(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: &rotatetest.MemStore{}, clock: t0, log: filepath.Join(t.TempDir(), "audit.jsonl")}
	w.store.Before = func(op, _ string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if op == rotatetest.OpList {
			return w.fail
		}
		return nil
	}
	w.keys = &auth.Keys{Settings: w.store, Now: w.now}
	w.page = &page.Page{
		Store: w.store, Keys: w.keys, History: &page.History{Path: w.log}, Now: w.now,
		Policy: func(string) plan.Policy { return plan.Policy{} },
	}
	w.h = w.page.Handler()
	create := func(k auth.Key) (string, auth.Key) {
		s, made, err := w.keys.Create(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		return s, made
	}
	w.viewer, w.viewerKey = create(auth.Key{Name: "wall", Role: auth.Viewer})
	w.viewerID = w.viewerKey.ID
	w.narrow, _ = create(auth.Key{Name: "team", Role: auth.Viewer, Users: []string{"app-*"}})
	w.operator, _ = create(auth.Key{Name: "ops", Role: auth.Operator, Users: []string{"*"}})
	w.add(t, entry("app-1"))
	w.add(t, entry("ci"))
	return w
}

func (w *world) add(t *testing.T, e rotate.Entry) {
	t.Helper()
	if _, err := w.store.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// entry is a user whose key is two minutes old.
func entry(user string) rotate.Entry {
	id, at := "AKIAIOSFODNN7EXAMPLE", t0.Add(-2*time.Minute)
	return rotate.Entry{
		Record: plan.Record{User: user, Enrolled: at, Slot: at, Keys: []plan.Held{{
			ID: id, Stage: plan.Current, Slot: at, Created: at, Made: at, Proven: at.Add(time.Second),
			Confirmed: at.Add(time.Second), Promoted: at.Add(11 * time.Second), Promise: at.Add(12 * time.Minute),
		}}},
		Secrets: map[string]rotate.Secret{id: rotate.NewSecret(secret)},
	}
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec
}

func (w *world) get(t *testing.T, path string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return w.do(r)
}

func (w *world) post(t *testing.T, path string, form url.Values, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	return w.do(r)
}

// login returns the session's cookie.
func (w *world) login(t *testing.T, key string) *http.Cookie {
	t.Helper()
	rec := w.post(t, "/login", url.Values{"key": {key}}, nil)
	cookies := rec.Result().Cookies()
	if rec.Code != http.StatusSeeOther || len(cookies) != 1 {
		t.Fatalf("POST /login = %d with %d cookies, want 303 with one", rec.Code, len(cookies))
	}
	return cookies[0]
}

func TestWhoIsNotLoggedInSeesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]int{"/": http.StatusSeeOther, "/status.json": http.StatusUnauthorized, "/events": http.StatusUnauthorized, "/login": http.StatusOK} {
		for _, c := range [][]*http.Cookie{nil, {{Name: "keyrot", Value: "guess"}}} {
			rec := w.get(t, path, c...)
			if rec.Code != want || strings.Contains(rec.Body.String(), "app-1") {
				t.Errorf("GET %s = %d %q, want %d and no user", path, rec.Code, rec.Body, want)
			}
		}
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.viewer)
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" {
		t.Errorf("cookie = %s, want HttpOnly, SameSite=Strict and not Secure without TLS", c)
	}
	w.page.Secure = true
	if c := w.login(t, w.operator); !c.Secure || c.Name != "__Host-keyrot" {
		t.Errorf("cookie = %s, want Secure and the __Host- prefix with TLS", c)
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *world, *http.Cookie){
		"its key is revoked": func(t *testing.T, w *world, _ *http.Cookie) {
			if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
				t.Fatal(err)
			}
		},
		"twelve hours have passed": func(_ *testing.T, w *world, _ *http.Cookie) { w.move(12 * time.Hour) },
		"somebody logs out": func(t *testing.T, w *world, c *http.Cookie) {
			w.post(t, "/logout", nil, func(r *http.Request) { r.AddCookie(c) })
		},
		"its key has another secret": func(t *testing.T, w *world, _ *http.Cookie) { w.rotate(t, 0) },
		"its secret's overlap is over": func(t *testing.T, w *world, c *http.Cookie) {
			w.rotate(t, time.Hour)
			if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
				t.Fatalf("GET / within the overlap = %d, want 200", rec.Code)
			}
			w.move(time.Hour)
		},
		"its key opens 32 more": func(t *testing.T, w *world, _ *http.Cookie) {
			w.move(time.Second)
			for range 32 {
				w.login(t, w.viewer)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.login(t, w.viewer)
			if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
				t.Fatalf("GET / = %d, want 200", rec.Code)
			}
			end(t, w, c)
			if rec := w.get(t, "/", c); rec.Code != http.StatusSeeOther {
				t.Errorf("GET / afterwards = %d, want 303 to the login", rec.Code)
			}
		})
	}
}

// rotate gives the viewer another secret.
func (w *world) rotate(t *testing.T, overlap time.Duration) {
	t.Helper()
	if _, _, err := w.keys.Rotate(t.Context(), w.viewerID, overlap); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyEndsOthersSessions: however often a caller logs in, and with how
// many API keys, it ends its own sessions only.
func TestNobodyEndsOthersSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.viewer)
	w.move(time.Second)
	for range 40 { // more than are kept of all callers together
		many, _, err := w.keys.Create(t.Context(), auth.Key{Role: auth.Viewer})
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			w.login(t, many)
		}
	}
	if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
		t.Errorf("GET / after 1600 log-ins of others = %d, want 200", rec.Code)
	}
}

func TestLinkWorksOnceAndSoon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	used, old, revoked := w.page.Link(w.viewerKey), w.page.Link(w.viewerKey), w.page.Link(w.viewerKey)
	if rec := w.get(t, used); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/" {
		t.Errorf("GET of a link = %d to %q, want 303 to /", rec.Code, rec.Header().Get("Location"))
	}
	if rec := w.get(t, used); rec.Code != http.StatusForbidden {
		t.Errorf("GET of a used link = %d, want 403", rec.Code)
	}
	w.move(10 * time.Minute)
	if rec := w.get(t, old); rec.Code != http.StatusForbidden {
		t.Errorf("GET of an old link = %d, want 403", rec.Code)
	}
	w.move(-10 * time.Minute)
	if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
		t.Fatal(err)
	}
	if rec := w.get(t, revoked); rec.Code != http.StatusForbidden {
		t.Errorf("GET of a revoked key's link = %d, want 403", rec.Code)
	}
}

func TestForeignFormsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/login", "/logout"} {
		rec := w.post(t, path, url.Values{"key": {w.viewer}}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
		if rec.Code != http.StatusForbidden || len(rec.Result().Cookies()) != 0 {
			t.Errorf("POST %s from another site = %d, want 403 and no cookie", path, rec.Code)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var charged []string
	wait := time.Duration(0)
	w.page.Charge = func(_ *http.Request, keyID string) time.Duration {
		charged = append(charged, keyID)
		return wait
	}
	c := w.login(t, w.viewer)
	w.post(t, "/login", url.Values{"key": {"krk_guess"}}, nil)
	w.get(t, "/login?once=guess")
	for _, path := range []string{"/", "/status.json"} {
		w.get(t, path, c)
	}
	if want := []string{w.viewerID, "", "", w.viewerID, w.viewerID}; !slices.Equal(charged, want) {
		t.Errorf("charged %q, want %q", charged, want)
	}
	wait = 1500 * time.Millisecond
	above := map[string]*httptest.ResponseRecorder{
		"a good key":  w.post(t, "/login", url.Values{"key": {w.viewer}}, nil),
		"a wrong key": w.post(t, "/login", url.Values{"key": {"krk_guess"}}, nil),
		"a link":      w.get(t, w.page.Link(w.viewerKey)),
		"the page":    w.get(t, "/", c), "its state": w.get(t, "/status.json", c), "a stream": w.get(t, "/events", c),
	}
	for name, rec := range above {
		if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") != "2" || len(rec.Result().Cookies()) > 0 {
			t.Errorf("%s above the limit = %d, Retry-After %q, want 429, 2 and no cookie", name, rec.Code, rec.Header().Get("Retry-After"))
		}
	}
}

func TestNarrowViewerSeesItsUsersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/", "/status.json", "/?q=c"} {
		body := w.get(t, path, w.login(t, w.narrow)).Body.String()
		if strings.Contains(body, `"ci"`) || strings.Contains(body, ">ci<") || strings.Contains(body, "ops") {
			t.Errorf("GET %s for a viewer of app-* tells of others: %s", path, body)
		}
	}
	var s page.Status
	if err := json.Unmarshal(w.get(t, "/status.json", w.login(t, w.narrow)).Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Total != 1 || len(s.Users) != 1 || s.Users[0].Name != "app-1" || s.Callers != nil {
		t.Errorf("GET /status.json = %+v, want app-1 only and no callers", s)
	}
}

func TestNothingSecretIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.operator)
	for _, path := range []string{"/", "/status.json", "/login", "/assets/app.js", "/assets/app.css", "/?q=" + url.QueryEscape(w.viewer)} {
		rec := w.get(t, path, c)
		for _, s := range []string{secret, w.viewer, w.narrow, w.operator, "AKIAIOSFODNN7EXAMPLE"} {
			if strings.Contains(rec.Body.String(), s) && !strings.Contains(path, "q=") {
				t.Errorf("GET %s holds %q", path, s)
			}
		}
		csp := rec.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s has the policy %q", path, csp)
		}
		if strings.Contains(rec.Body.String(), "style=") || strings.Contains(rec.Body.String(), "onclick") {
			t.Errorf("GET %s has inline style or script", path)
		}
	}
}

func TestHostileTextIsEscaped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil := `"><script>alert(1)</script><img src=x onerror='x'>`
	e := entry(evil)
	e.Record.Error = evil + "\u202e\x1b[2J AKIAIOSFODNN7EXAMPLE"
	e.Record.Pause = &plan.Pause{Since: t0, By: evil, Reason: evil}
	w.add(t, e)
	if _, _, err := w.keys.Create(t.Context(), auth.Key{Name: evil + "\u202e", Role: auth.Reader, Users: []string{evil}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.log, frames(rotate.Event{Time: t0, Action: "pause", User: evil, Reason: evil, Actor: evil}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.move(10 * time.Second)
	body := w.get(t, "/?q="+url.QueryEscape(`<script>`), w.login(t, w.viewer)).Body.String()
	if !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Fatal("the hostile user is not on the page")
	}
	if n := strings.Count(body, `\u202e`); n < 2 {
		t.Errorf("the page shows that text is reversed %d times, want in the error and in the caller's name", n)
	}
	for _, bad := range []string{"<script>", "<img", "\u202e", "\x1b", "AKIAIOSFODNN7EXAMPLE"} {
		if strings.Contains(strings.ReplaceAll(body, `<script src="/assets`, ""), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.viewer)
	w.mu.Lock()
	w.fail = errors.New("disk on fire")
	w.mu.Unlock()
	rec := w.get(t, "/", c)
	if rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "fire") {
		t.Errorf("GET / = %d %s, want 503 and no detail", rec.Code, rec.Body)
	}
}

func TestAssetsAreCached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.get(t, "/assets/app.css")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/assets/app.css", nil)
	r.Header.Set("If-None-Match", rec.Header().Get("ETag"))
	if again := w.do(r); rec.Code != http.StatusOK || again.Code != http.StatusNotModified {
		t.Errorf("GET app.css = %d, then %d, want 200, then 304", rec.Code, again.Code)
	}
}

// listen opens a stream and returns its messages.
func listen(t *testing.T, ctx context.Context, srv *httptest.Server, c *http.Cookie) (next func() (event, data string), status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(c)
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	in := bufio.NewScanner(res.Body)
	in.Buffer(nil, 1<<20)
	return func() (event, data string) {
		for in.Scan() {
			switch name, value, _ := strings.Cut(in.Text(), ": "); name {
			case "event":
				event = value
			case "data":
				return event, value
			}
		}
		return "end", ""
	}, res.StatusCode
}

func TestStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	next, _ := listen(t, t.Context(), srv, w.login(t, w.viewer))
	event, data := next()
	var c struct {
		Parts, Cards map[string]string
		Order        []string
	}
	if err := json.Unmarshal([]byte(data), &c); err != nil || event != "change" || len(c.Cards) != 2 || len(c.Order) != 2 || !strings.Contains(c.Parts["banner"], "All keys rotate on time") {
		t.Fatalf("first message = %s %s (%v), want all of the page", event, data, err)
	}
	w.add(t, entry("late-comer"))
	w.move(time.Second)
	event, data = next()
	if event != "change" || !strings.Contains(data, "late-comer") || strings.Contains(data, secret) {
		t.Errorf("next message = %s %s, want the new user", event, data)
	}
	if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
		t.Fatal(err)
	}
	for event != "bye" && event != "end" {
		event, _ = next()
	}
	if event != "bye" {
		t.Errorf("after the key was revoked the stream's last message = %s, want bye", event)
	}
	if event, _ := next(); event != "end" {
		t.Errorf("after bye comes %s, want the end", event)
	}
}

// TestStreamEndsWithItsSecret: no new secret, no further message.
func TestStreamEndsWithItsSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	next, _ := listen(t, t.Context(), srv, w.login(t, w.viewer))
	event, _ := next()
	w.rotate(t, 0)
	for event != "bye" && event != "end" {
		event, _ = next()
	}
	if event != "bye" {
		t.Errorf("after the key was rotated the stream's last message = %s, want bye", event)
	}
}

func TestStreamsAreBoundedByKeyAndStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	var open []func() (string, string)
	for range 16 {
		next, status := listen(t, t.Context(), srv, w.login(t, w.viewer))
		if status != http.StatusOK {
			t.Fatalf("GET /events = %d, want 200", status)
		}
		open = append(open, next)
	}
	if _, status := listen(t, t.Context(), srv, w.login(t, w.viewer)); status != http.StatusServiceUnavailable {
		t.Errorf("one stream more = %d, want 503", status)
	}
	if _, status := listen(t, t.Context(), srv, w.login(t, w.operator)); status != http.StatusOK {
		t.Errorf("a stream of another key = %d, want 200", status)
	}
	w.page.Stop()
	for _, next := range open {
		event := ""
		for event != "end" {
			event, _ = next()
		}
	}
}
