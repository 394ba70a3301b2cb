package cli

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// wired is the server as "keyrot serve" joins it, without an AWS behind it.
type wired struct {
	*system
	h http.Handler
}

func openWired(t *testing.T, change func(*config.Config)) *wired {
	t.Helper()
	e, _, _ := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := config.Load(config.Source{Getenv: e.Getenv, Flags: map[string]any{
		"store.path": filepath.Join(t.TempDir(), "keyrot.db"), "users.names": "ci,payroll", "audit.sync": "second", "log.level": "error",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	s, err := open(t.Context(), e, cfg, cloud{Clock: rotatetest.Clock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close(t.Context()) })
	for _, user := range []string{"ci", "payroll"} {
		if _, err := s.store.Save(t.Context(), rotate.Entry{Record: plan.Record{User: user}}); err != nil {
			t.Fatal(err)
		}
	}
	return &wired{s, s.server.Handler()}
}

func (w *wired) do(t *testing.T, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec
}

func (w *wired) key(t *testing.T, k auth.Key) (secret, id string) {
	t.Helper()
	secret, made, err := w.server.Keys.Create(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return secret, made.ID
}

// TestServeEndsSessionsWithTheirSecret: as another process rotates the API key.
func TestServeEndsSessionsWithTheirSecret(t *testing.T) {
	t.Parallel()
	w := openWired(t, nil)
	w.server.Keys.MaxAge = time.Nanosecond // a second, in the product
	secret, id := w.key(t, auth.Key{Role: auth.Viewer})
	in := w.do(t, "POST", "/login", url.Values{"key": {secret}}.Encode())
	if in.Code != http.StatusSeeOther {
		t.Fatalf("POST /login = %d, want 303", in.Code)
	}
	cookie := in.Header().Get("Set-Cookie")
	if got := w.do(t, "GET", "/status.json", "", "Cookie", cookie).Code; got != http.StatusOK {
		t.Fatalf("GET /status.json = %d, want 200", got)
	}
	other := &auth.Keys{Settings: w.store}
	if _, _, err := other.Rotate(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if got := w.do(t, "GET", "/status.json", "", "Cookie", cookie).Code; got != http.StatusUnauthorized {
		t.Errorf("GET /status.json after api-key rotate --overlap 0s = %d, want 401", got)
	}
}

func TestServeShowsACallerItsOwnMetrics(t *testing.T) {
	t.Parallel()
	w := openWired(t, nil)
	secret, _ := w.key(t, auth.Key{Role: auth.Reader, Users: []string{"ci"}})
	rec := w.do(t, "GET", "/metrics", "", "X-Api-Key", secret)
	if body := rec.Body.String(); rec.Code != http.StatusOK || !strings.Contains(body, `user="ci"`) || strings.Contains(body, "payroll") {
		t.Errorf("GET /metrics of a caller for ci = %d\n%s\nwant ci and not payroll", rec.Code, body)
	}
}

// TestServeLimitsClientsBehindAProxy: server.trusted_proxies reaches the server.
func TestServeLimitsClientsBehindAProxy(t *testing.T) {
	t.Parallel()
	w := openWired(t, func(c *config.Config) {
		c.Server.FailureRate, c.Server.TrustedProxies = 0.1, []string{"192.0.2.0/24"}
	})
	guess := func(client string) int {
		return w.do(t, "POST", "/login", "key=krk_guess", "X-Forwarded-For", client).Code
	}
	if a, b, c := guess("198.51.100.1"), guess("198.51.100.1"), guess("198.51.100.2"); a != 403 || b != 429 || c != 403 {
		t.Errorf("two guesses of one client and one of another = %d, %d, %d, want 403, 429, 403", a, b, c)
	}
}

// TestNamesAreShownNotObeyed: what somebody called an API key does not move
// the cursor of whoever lists it.
func TestNamesAreShownNotObeyed(t *testing.T) {
	t.Parallel()
	e, out, errs := testEnv(t, nil)
	e.Now = time.Now
	db := filepath.Join(t.TempDir(), "keyrot.db")
	evil := "x\x1b[2J\u202e\nforged"
	if code := Run(t.Context(), e, []string{"api-key", "create", "--init", "--store", db, "--name", evil, "--users", "*"}); code != 0 {
		t.Fatalf("api-key create = %d\n%s", code, errs)
	}
	for _, args := range [][]string{{"api-key", "list"}, {"api-key", "list", "-o", "json"}, {"api-key", "revoke", evil}, {evil}} {
		out.Reset()
		errs.Reset()
		Run(t.Context(), e, append(args, "--store", db))
		said := out.String() + errs.String()
		if strings.ContainsAny(said, "\x1b\u202e") || !strings.Contains(said, `\u001b[2J\u202e`) && !strings.Contains(said, `\x1b[2J\u202e`) {
			t.Errorf("keyrot %q printed %q, want the name written out", args, said)
		}
	}
}

func TestServeLimitsLogins(t *testing.T) {
	t.Parallel()
	w := openWired(t, func(c *config.Config) { c.Server.FailureRate = 0.1 })
	guess := func() int { return w.do(t, "POST", "/login", "key=krk_guess").Code }
	if first, second := guess(), guess(); first != http.StatusForbidden || second != http.StatusTooManyRequests {
		t.Errorf("two wrong keys at server.failure_rate 0.1 = %d, %d, want 403, 429", first, second)
	}
}
