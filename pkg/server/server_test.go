package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/server"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// store keeps settings in memory and can fail.
type store struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   error
}

func (s *store) Setting(_ context.Context, name string) ([]byte, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, 0, s.fail
	}
	if v, ok := s.values[name]; ok {
		return v, 1, nil
	}
	return nil, 0, rotate.ErrNotFound
}

func (s *store) SaveSetting(_ context.Context, name string, value []byte, _ int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = value
	return 1, s.fail
}

func (s *store) SettingNames(context.Context, string) ([]string, error) { return nil, s.fail }

// dispenser hands out what it holds and records who asked.
type dispenser struct {
	mu    sync.Mutex
	given []rotate.Recipient
	creds map[string]rotate.Credential
	fail  error
}

func (d *dispenser) Give(_ context.Context, user string, to rotate.Recipient) (rotate.Credential, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if user == "panics" {
		panic("boom")
	}
	c, ok := d.creds[user]
	if ok && d.fail == nil && to.Holds != nil && to.Holds(c) {
		return c, nil
	}
	d.given = append(d.given, to)
	switch {
	case d.fail != nil:
		return rotate.Credential{}, d.fail
	case !ok:
		return c, rotate.ErrNotFound
	}
	return c, nil
}

type health struct {
	h   api.Health
	err error
}

func (h *health) Health(context.Context) (api.Health, error) { return h.h, h.err }

type world struct {
	store  *store
	disp   *dispenser
	health *health
	now    time.Time
	srv    *server.Server
	h      http.Handler
	log    bytes.Buffer

	reader, ciOnly, viewer string // API keys
	token, ciToken         string
}

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" // #nosec G101 -- AWS's documented example

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		store: &store{values: map[string][]byte{}},
		disp: &dispenser{creds: map[string]rotate.Credential{"ci": {
			User: "ci", KeyID: "AKIAIOSFODNN7EXAMPLE", Secret: rotate.NewSecret(secret),
			Created: t0, Expiration: t0.Add(12 * time.Minute),
		}}},
		health: &health{h: api.Health{Users: 3, Serving: 3}},
		now:    t0,
	}
	clock := func() time.Time { return w.now }
	keys := &auth.Keys{Settings: w.store, Now: clock}
	w.srv = &server.Server{
		Keys: keys, Tokens: &auth.Tokens{Settings: w.store, Keys: keys, Now: clock},
		Credentials: w.disp, Health: w.health, Log: slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.h = w.srv.Handler()
	key := func(users []string, role auth.Role) string {
		s, _, err := keys.Create(t.Context(), auth.Key{Users: users, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w.reader, w.ciOnly, w.viewer = key([]string{"*"}, auth.Reader), key([]string{"ci"}, auth.Reader), key([]string{"*"}, auth.Viewer)
	w.token, w.ciToken = w.getToken(t, w.reader), w.getToken(t, w.ciOnly)
	return w
}

func (w *world) getToken(t *testing.T, key string) string {
	t.Helper()
	res := w.do(t, "POST", "/generate-token", "X-Api-Key", key)
	var tok api.Token
	if err := json.Unmarshal(res.Body.Bytes(), &tok); err != nil || res.Code != 200 || tok.ExpiresIn != 300 {
		t.Fatalf("POST /generate-token = %d %s", res.Code, res.Body)
	}
	return tok.Token
}

// do makes a request; header holds names and values in turn.
func (w *world) do(t *testing.T, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res := httptest.NewRecorder()
	w.h.ServeHTTP(res, r)
	checkContract(t, r, res)
	return res
}

func TestActiveKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	want := `{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"` + secret + `","Expiration":"2026-03-01T12:12:00Z","CreateDate":"2026-03-01T12:00:00Z","UserName":"ci"}` + "\n"
	if diff := cmp.Diff(want, res.Body.String()); res.Code != 200 || diff != "" {
		t.Errorf("GET /active-key = %d (-want +got):\n%s", res.Code, diff)
	}
	if got := res.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
	if w.disp.given[0].Addr != "192.0.2.1" || w.disp.given[0].Caller == "" {
		t.Errorf("recipient = %+v, want caller and host", w.disp.given[0])
	}
	tag := res.Header().Get("ETag")
	for _, match := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "bearer "+w.token, "If-None-Match", match)
		if res.Code != 304 || res.Body.Len() != 0 || res.Header().Get("ETag") != tag {
			t.Errorf("If-None-Match: %s = %d %q, want 304 without body", match, res.Code, res.Body)
		}
	}
	if n := len(w.disp.given); n != 1 {
		t.Errorf("%d hand-outs are on record, want 1: a 304 gives nothing", n)
	}
	c := w.disp.creds["ci"]
	c.Expiration = c.Expiration.Add(time.Second)
	w.disp.creds["ci"] = c
	res = w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token, "If-None-Match", tag)
	if res.Code != 200 {
		t.Errorf("with an extended Expiration = %d, want 200", res.Code)
	}
	c.KeyID, c.Secret = "AKIAI44QH8DHBEXAMPLE", rotate.NewSecret("another")
	w.disp.creds["ci"] = c
	res = w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	if got := res.Body.String(); !strings.Contains(got, `"AKIAI44QH8DHBEXAMPLE","SecretAccessKey":"another"`) {
		t.Errorf("after a rotation = %s, want the new key", got)
	}
	if strings.Contains(w.log.String(), secret) || strings.Contains(w.log.String(), w.token) || strings.Contains(w.log.String(), w.reader) {
		t.Error("the log holds a secret")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const ak = "/active-key?username=ci"
	forbidden, unauthorized := `{"message":"Forbidden","code":"forbidden"}`, `{"message":"Unauthorized","code":"unauthorized"}`
	notAllowed := `{"message":"User is not allowed to this API key","code":"user_not_allowed"}`
	bearer := "Bearer " + w.token
	for _, tc := range []struct {
		name, method, target string
		header               []string
		status               int
		body                 string
	}{
		{"no API key, no token", "POST", "/generate-token", nil, 403, forbidden},
		{"a bad API key", "POST", "/generate-token", []string{"X-Api-Key", "krk_x"}, 403, forbidden},
		{"two API keys", "POST", "/generate-token", []string{"X-Api-Key", w.reader, "X-Api-Key", w.reader}, 403, forbidden},
		{"an API key in the query", "POST", "/generate-token?x-api-key=" + w.reader, nil, 403, forbidden},
		{"GET a token", "GET", "/generate-token", []string{"X-Api-Key", w.reader}, 405, `{"message":"Method Not Allowed","code":"method_not_allowed"}`},
		{"HEAD a credential", "HEAD", ak, []string{"X-Api-Key", w.reader, "Authorization", bearer}, 405, `{"message":"Method Not Allowed","code":"method_not_allowed"}`},
		{"a credential without API key", "GET", ak, []string{"Authorization", bearer}, 403, forbidden},
		{"a credential without token", "GET", ak, []string{"X-Api-Key", w.reader}, 401, unauthorized},
		{"a token of another key", "GET", ak, []string{"X-Api-Key", w.ciOnly, "Authorization", bearer}, 401, unauthorized},
		{"a token with another scheme", "GET", ak, []string{"X-Api-Key", w.reader, "Authorization", "Basic " + w.token}, 401, unauthorized},
		{"a token without scheme", "GET", ak, []string{"X-Api-Key", w.reader, "Authorization", w.token}, 401, unauthorized},
		{"two tokens", "GET", ak, []string{"X-Api-Key", w.reader, "Authorization", bearer, "Authorization", bearer}, 401, unauthorized},
		{"no username", "GET", "/active-key", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"query parameter username is missing","code":"bad_request"}`},
		{"an empty username", "GET", "/active-key?username=", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"query parameter username is missing","code":"bad_request"}`},
		{"two usernames", "GET", ak + "&username=root", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"query parameter username is given more than once","code":"bad_request"}`},
		{"a path as username", "GET", "/active-key?username=../ci", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"username is not a valid IAM user name","code":"bad_request"}`},
		{"a newline after the username", "GET", "/active-key?username=ci%0a", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"username is not a valid IAM user name","code":"bad_request"}`},
		{"a malformed query", "GET", "/active-key?username=%zz", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 400, `{"message":"the query string is malformed","code":"bad_request"}`},
		{"an unknown user", "GET", "/active-key?username=nobody", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 404, `{"message":"Unknown user","code":"unknown_user"}`},
		{"an unknown user that is not allowed looks like a known one", "GET", "/active-key?username=nobody", []string{"X-Api-Key", w.ciOnly, "Authorization", "Bearer " + w.ciToken}, 403, notAllowed},
		{"a panic", "GET", "/active-key?username=panics", []string{"X-Api-Key", w.reader, "Authorization", bearer}, 500, `{"message":"Internal Server Error","code":"internal"}`},
		{"an unknown route", "GET", "/admin", nil, 404, `{"message":"Not Found","code":"not_found"}`},
		{"the root", "DELETE", "/", nil, 404, `{"message":"Not Found","code":"not_found"}`},
	} {
		res := w.do(t, tc.method, tc.target, tc.header...)
		if got := strings.TrimSpace(res.Body.String()); res.Code != tc.status || got != tc.body {
			t.Errorf("%s: %s %s = %d %s, want %d %s", tc.name, tc.method, tc.target, res.Code, got, tc.status, tc.body)
		}
		if res.Header().Get("Cache-Control") != "no-store" || res.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s: header = %v, want no-store and a request id", tc.name, res.Header())
		}
	}
	if len(w.disp.given) != 1 {
		t.Errorf("the dispenser was asked %d times, want once (the unknown user)", len(w.disp.given))
	}
}

func TestViewersGetNoCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.getToken(t, w.viewer)
	res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.viewer, "Authorization", "Bearer "+token)
	if res.Code != 403 {
		t.Errorf("GET /active-key by a viewer = %d, want 403", res.Code)
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = t0.Add(5 * time.Minute)
	res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	if res.Code != 401 {
		t.Errorf("GET /active-key after 5 min = %d, want 401", res.Code)
	}
}

func TestTroubleIsTemporary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		cause func(*world)
		code  string
	}{
		{"no key works", func(w *world) { w.disp.fail = rotate.ErrNoKeyReady }, "no_key_ready"},
		{"the audit log is full", func(w *world) { w.disp.fail = errors.New("no space left on /var") }, "unavailable"},
		{"the store has not answered for a quarter of an hour", func(w *world) { w.now = t0.Add(16 * time.Minute); w.store.fail = errors.New("locked") }, "unavailable"},
	} {
		w := newWorld(t)
		tc.cause(w)
		res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
		if res.Code != 503 || res.Header().Get("Retry-After") == "" || !strings.Contains(res.Body.String(), `"`+tc.code+`"`) || strings.Contains(res.Body.String(), "/var") {
			t.Errorf("%s: GET /active-key = %d %v %s, want 503 %s with Retry-After", tc.name, res.Code, res.Header(), res.Body, tc.code)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, target string
		health       health
		status       int
		body         string
	}{
		{"all is well", "/healthz", health{h: api.Health{Users: 3, Serving: 3}}, 200, `{"status":"ok","users":3,"serving":3,"overdue":0}`},
		{"a user is overdue", "/healthz", health{h: api.Health{Users: 3, Serving: 3, Overdue: 1}}, 503, `{"status":"overdue","users":3,"serving":3,"overdue":1}`},
		{"hand-outs wait to be recorded", "/healthz", health{h: api.Health{Users: 3, Serving: 3, Unrecorded: 2}}, 503, `{"status":"unrecorded","users":3,"serving":3,"overdue":0,"unrecorded":2}`},
		{"the store is gone", "/healthz", health{err: errors.New("io")}, 503, `{"message":"Service Unavailable","code":"unavailable"}`},
		{"an overdue user is still served", "/readyz", health{h: api.Health{Users: 3, Serving: 3, Overdue: 1}}, 200, `{"status":"ok","users":3,"serving":3,"overdue":1}`},
		{"nothing to hand out yet", "/readyz", health{h: api.Health{Users: 3}}, 503, `{"status":"starting","users":3,"serving":0,"overdue":0}`},
		{"the store is gone and what was promised is ready", "/readyz", health{h: api.Health{Users: 2, Serving: 2}, err: errors.New("io")}, 200, `{"status":"ok","users":2,"serving":2,"overdue":0}`},
		{"the store is gone, whatever is ready", "/healthz", health{h: api.Health{Users: 2, Serving: 2}, err: errors.New("io")}, 503, `{"message":"Service Unavailable","code":"unavailable"}`},
		{"a liveness probe while a user is overdue", "/livez", health{h: api.Health{Users: 3, Serving: 3, Overdue: 1}}, 200, `{"status":"ok"}`},
		{"a liveness probe while the store is gone", "/livez", health{err: errors.New("io")}, 200, `{"status":"ok"}`},
		{"the store is gone and nothing is ready", "/readyz", health{err: errors.New("io")}, 503, `{"message":"Service Unavailable","code":"unavailable"}`},
	} {
		w := newWorld(t)
		*w.health = tc.health
		res := w.do(t, "GET", tc.target)
		if got := strings.TrimSpace(res.Body.String()); res.Code != tc.status || got != tc.body {
			t.Errorf("%s: GET %s = %d %s, want %d %s", tc.name, tc.target, res.Code, got, tc.status, tc.body)
		}
	}
}

// TestProbesByHEAD: load balancers probe by HEAD, and go by the status.
func TestProbesByHEAD(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	*w.health = health{h: api.Health{Users: 1, Serving: 1, Overdue: 1}}
	for target, want := range map[string]int{"/healthz": 503, "/readyz": 200, "/livez": 200, "/openapi.yaml": 200} {
		if res := w.do(t, "HEAD", target); res.Code != want {
			t.Errorf("HEAD %s = %d, want %d", target, res.Code, want)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/generate-token", strings.NewReader(strings.Repeat("x", 5000)))
	r.Header.Set("X-Api-Key", w.reader)
	res := httptest.NewRecorder()
	w.h.ServeHTTP(res, r)
	if res.Code != 413 {
		t.Errorf("POST with 5000 bytes = %d, want 413", res.Code)
	}
}

func TestAKeyRotatesInsideATokensLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE"} {
		c := w.disp.creds["ci"]
		c.KeyID = id
		w.disp.creds["ci"] = c
		res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
		if res.Code != 200 || !strings.Contains(res.Body.String(), `"AccessKeyId":"`+id+`"`) {
			t.Errorf("GET /active-key with the same token = %d %s, want key %s", res.Code, res.Body, id)
		}
	}
}
