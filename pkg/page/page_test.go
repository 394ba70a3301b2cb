package page_test

import (
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
		if op == rotatetest.OpChanges {
			return w.fail
		}
		return nil
	}
	w.keys = &auth.Keys{Settings: w.store, Now: w.now}
	w.page = &page.Page{
		Keys: w.keys, History: &page.History{Path: w.log}, Now: w.now,
		Policy: func(string) plan.Policy { return plan.Policy{} },
	}
	w.page.Roster = &rotate.Roster{Store: w.store, Policy: w.page.Policy, Now: w.now}
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
	for _, path := range []string{"/", "/status.json", "/?q=c", "/?user=ci", "/status.json?user=ci", "/?state=on-time"} {
		w.get(t, path, w.login(t, w.operator)) // who sees all of it
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
	if _, _, err := w.keys.Create(t.Context(), auth.Key{Name: evil + "\u202e", Role: auth.Reader, Users: []string{"*"}}); err != nil {
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
