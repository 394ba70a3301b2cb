package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// fake answers as a server does, or as scripted.
type fake struct {
	tokens, keys atomic.Int64
	token, key   func(w http.ResponseWriter, r *http.Request)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /base/generate-token":
		f.tokens.Add(1)
		if f.token != nil {
			f.token(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"token":"T","expires_in":300}`))
	case "GET /base/active-key":
		f.keys.Add(1)
		if f.key != nil {
			f.key(w, r)
			return
		}
		if r.Header.Get("Authorization") != "Bearer T" || r.Header.Get("X-Api-Key") != "K" || r.URL.Query().Get("username") != "a+b@c" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = w.Write([]byte(`{"AccessKeyId":"AKIA1","SecretAccessKey":"s","Expiration":"2026-03-01T12:12:00Z","UserName":"a+b@c"}`))
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func start(t *testing.T, f *fake) *client.Client {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return &client.Client{Endpoint: srv.URL + "/base/", APIKey: "K"}
}

func say(status int, body string, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestCredentialSharesOneToken(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := start(t, f)
	now := time.Now()
	c.Now = func() time.Time { return now }
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if cred, err := c.Credential(t.Context(), "a+b@c"); err != nil || cred.AccessKeyID != "AKIA1" || cred.SecretAccessKey != "s" {
				t.Errorf("Credential = %v, %v", cred, err)
			}
		})
	}
	wg.Wait()
	if got := f.tokens.Load(); got != 1 {
		t.Errorf("8 calls got %d tokens, want 1", got)
	}
	now = now.Add(5*time.Minute - 4*time.Second)
	if _, err := c.Credential(t.Context(), "a+b@c"); err != nil || f.tokens.Load() != 2 {
		t.Errorf("close to the token's end: %d tokens, %v, want a second one", f.tokens.Load(), err)
	}
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := start(t, f)
	if _, err := c.Credential(t.Context(), "a+b@c"); err != nil {
		t.Fatal(err)
	}
	f.key = say(401, `{"message":"Unauthorized","code":"unauthorized"}`)
	if _, err := c.Credential(t.Context(), "a+b@c"); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("Credential = %v, want ErrUnauthorized", err)
	}
	if f.tokens.Load() != 2 || f.keys.Load() != 3 {
		t.Errorf("tokens, keys = %d, %d, want 2, 3: one renewal, no loop", f.tokens.Load(), f.keys.Load())
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		token, key func(http.ResponseWriter, *http.Request)
		want       error
		text       string
	}{
		{"a wrong API key", say(403, `{"message":"Forbidden","code":"forbidden"}`), nil, api.ErrForbidden, "API key"},
		{"API Gateway's words without a code", say(403, `{"message":"Forbidden"}`), nil, api.ErrForbidden, ""},
		{"an unknown user", nil, say(404, `{"message":"Unknown user","code":"unknown_user"}`, "X-Request-Id", "R7"), api.ErrUnknownUser, "request R7"},
		{"a user that is not allowed", nil, say(403, `{"message":"x","code":"user_not_allowed"}`), api.ErrNotAllowed, "may not read"},
		{"no key at the moment", nil, say(503, `{"message":"x","code":"no_key_ready"}`, "Retry-After", "5"), api.ErrNoKeyReady, ""},
		{"another server", say(200, `<html>`), nil, client.ErrNotKeyrot, ""},
		{"another server's refusal", say(404, `<html>`), nil, client.ErrNotKeyrot, "404"},
		{"an empty token", say(200, `{}`), nil, client.ErrNotKeyrot, ""},
		{"an empty credential", nil, say(200, `{}`), client.ErrNotKeyrot, ""},
		{"a redirect is not followed", say(307, ``, "Location", "http://127.0.0.1:1/"), nil, client.ErrNotKeyrot, "307"},
	} {
		var err error
		synctest.Test(t, func(t *testing.T) { // what a gateway says is asked again for some seconds
			_, err = inside(&fake{token: tc.token, key: tc.key}).Credential(t.Context(), "a+b@c")
		})
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: Credential = %v, want %v with %q", tc.name, err, tc.want, tc.text)
		}
		var r *api.Refusal
		if errors.As(err, &r) && errors.Is(err, api.ErrNoKeyReady) && r.RetryAfter != 5*time.Second {
			t.Errorf("%s: RetryAfter = %s, want 5s", tc.name, r.RetryAfter)
		}
	}
}

func TestTheWayToTheServer(t *testing.T) {
	t.Parallel()
	f := &fake{}
	srv := httptest.NewServer(f)
	srv.Close()
	for _, tc := range []struct {
		name, endpoint string
		want           error
	}{
		{"nobody listens", srv.URL, client.ErrUnreachable},
		{"plain HTTP to elsewhere", "http://192.0.2.1:80", client.ErrPlainHTTP},
		{"plain HTTP to a name that looks local", "http://localhost.example", client.ErrPlainHTTP},
	} {
		c := &client.Client{Endpoint: tc.endpoint, APIKey: "K"}
		if _, err := c.Credential(t.Context(), "u"); !errors.Is(err, tc.want) {
			t.Errorf("%s: Credential = %v, want %v", tc.name, err, tc.want)
		}
	}
	for _, endpoint := range []string{"", "localhost:80", "ftp://x", "https://user:pw@x"} {
		c := &client.Client{Endpoint: endpoint}
		if _, err := c.Credential(t.Context(), "u"); err == nil || !strings.Contains(err.Error(), "is not a URL") || strings.Contains(err.Error(), "pw") {
			t.Errorf("Credential at %q = %v, want a complaint about the endpoint", endpoint, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := start(t, f).Credential(ctx, "u"); !errors.Is(err, context.Canceled) {
		t.Errorf("Credential with an ended context = %v, want Canceled", err)
	}
}
