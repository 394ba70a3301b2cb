package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// within answers requests without a network, so that time can be virtual.
type within struct{ h http.Handler }

func (w within) RoundTrip(r *http.Request) (res *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil {
			res, err = nil, io.EOF
		}
	}()
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	if rec.Code == http.StatusPartialContent { // a body that ends too soon
		rec.Code = http.StatusOK
		res := rec.Result()
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(rec.Body.Bytes()), cut{}))
		return res, nil
	}
	return rec.Result(), nil
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func inside(f *fake) *client.Client {
	return &client.Client{Endpoint: "http://localhost/base/", APIKey: "K", HTTP: &http.Client{Transport: within{f}}}
}

// TestAGatewayIsAskedAgain holds how often a server is asked whose gateway
// answers in its place, and for how long.
func TestAGatewayIsAskedAgain(t *testing.T) {
	t.Parallel()
	cutOff := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for _, tc := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request)
		passing bool
	}{
		{"a firewall's 403", say(403, `{"message":"Forbidden"}`), true},
		{"a gateway's 401", say(401, `{"message":"Unauthorized"}`), true},
		{"a page with 403", say(403, `<html>`), true},
		{"a load balancer's 502", say(502, `<html>`), true},
		{"a gateway's 504", say(504, `{"message":"Endpoint request timed out"}`), true},
		{"a log-in page with 200", say(200, `<html>`), true},
		{"JSON of somebody else with 200", say(200, `{"ok":true}`), true},
		{"an empty 200", say(200, ``), true},
		{"the key of another user", say(200, `{"AccessKeyId":"AKIA2","SecretAccessKey":"s","Expiration":"2026-03-01T12:12:00Z","UserName":"eve"}`), true},
		{"a cut connection", cutOff, true},
		{"a cut answer", say(206, `{"tok`), true},
		{"keyrot's 403", say(403, `{"message":"Forbidden","code":"forbidden"}`), false},
		{"keyrot's 404", say(404, `{"message":"x","code":"unknown_user"}`), false},
		{"keyrot's 503", say(503, `{"message":"x","code":"no_key_ready"}`), false},
	} {
		for _, at := range []string{"log-in", "key"} {
			t.Run(tc.name+" at the "+at, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { askedAgain(t, at, tc.answer, tc.passing) })
			})
		}
	}
}

func askedAgain(t *testing.T, at string, answer func(http.ResponseWriter, *http.Request), passing bool) {
	t.Helper()
	start := time.Now()
	f := &fake{}
	good := func(body string, status func(http.ResponseWriter, *http.Request), until time.Duration) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if time.Since(start) < until {
				status(w, r)
				return
			}
			_, _ = io.WriteString(w, body)
		}
	}
	for _, lasts := range []time.Duration{time.Millisecond, time.Second, 3 * time.Second, time.Hour} {
		f.tokens.Store(0)
		f.keys.Store(0)
		start = time.Now()
		c := inside(f)
		if at == "log-in" {
			f.token = good(`{"token":"T","expires_in":300}`, answer, lasts)
		} else {
			f.key = good(`{"AccessKeyId":"AKIA1","SecretAccessKey":"s","Expiration":"2026-03-01T12:12:00Z"}`, answer, lasts)
		}
		cred, err := c.Credential(t.Context(), "a+b@c")
		took := time.Since(start)
		if want := passing && lasts < time.Hour; (err == nil) != want || want && cred.AccessKeyID != "AKIA1" {
			t.Errorf("for %v: Credential = %v, %v", lasts, cred.AccessKeyID, err)
		}
		if !passing && took > 0 || took > 6*time.Second {
			t.Errorf("for %v: it took %v", lasts, took)
		}
		if n := f.tokens.Load(); n > 10 {
			t.Errorf("for %v: %d log-ins", lasts, n)
		}
	}
}

func TestWhoHasACredentialIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, _, err := inside(&fake{key: say(502, `<html>`)}).CredentialIfChanged(t.Context(), "a+b@c", `"tag"`)
		if !errors.Is(err, client.ErrNotKeyrot) || time.Since(start) > 0 {
			t.Errorf("CredentialIfChanged = %v after %v, want the answer at once", err, time.Since(start))
		}
	})
}

// TestAGatewaysWordForAnExpiredToken: API Gateway says 403 about a token, too.
func TestAGatewaysWordForAnExpiredToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := &fake{}
		c := inside(f)
		c.UseToken("old", time.Now().Add(time.Minute))
		f.key = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer T" {
				say(403, `{"message":"Forbidden"}`)(w, r)
				return
			}
			say(200, `{"AccessKeyId":"AKIA1","SecretAccessKey":"s","Expiration":"2026-03-01T12:12:00Z"}`)(w, r)
		}
		cred, _, err := c.CredentialIfChanged(t.Context(), "a+b@c", `"tag"`)
		if err != nil || cred.AccessKeyID != "AKIA1" || time.Since(start) > 0 || f.tokens.Load() != 1 {
			t.Errorf("CredentialIfChanged = %v, %v after %v and %d log-ins, want a key at once after one", cred.AccessKeyID, err, time.Since(start), f.tokens.Load())
		}
	})
}

func TestAskingAgainEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := inside(&fake{token: say(403, `{"message":"Forbidden"}`)}).Credential(ctx, "a+b@c")
		var r *api.Refusal
		if !errors.As(err, &r) || !strings.Contains(err.Error(), "gateway") || time.Since(start) > time.Second {
			t.Errorf("Credential = %v after %v, want the gateway's answer within a second", err, time.Since(start))
		}
	})
}

// TestAStrangersAnswerIsNotBelieved: caches and gateways on the way answer 304
// and 200 for reasons of their own. Whoever believed such a 304 would not notice
// that a key was withdrawn; whoever took its Date for the server's would judge
// every Expiration by it.
func TestAStrangersAnswerIsNotBelieved(t *testing.T) {
	t.Parallel()
	const cred = `{"AccessKeyId":"AKIA1","SecretAccessKey":"s","Expiration":"2000-01-01T00:12:00Z"}`
	for _, tc := range []struct {
		name      string
		status    int
		tag, body string
		want      error
	}{
		{"304 with the tag that was sent", 304, `"tag"`, "", client.ErrNotModified},
		{"304 with the tag as a proxy weakens it that compresses", 304, `W/"tag"`, "", client.ErrNotModified},
		{"304 without a tag", 304, "", "", client.ErrNotKeyrot},
		{"304 with another tag", 304, `"page"`, "", client.ErrNotKeyrot},
		{"200 with a key", 200, `"new"`, cred, nil},
		{"200 with an empty object", 200, `"new"`, "{}", client.ErrNotKeyrot},
		{"200 with half a key", 200, `"new"`, `{"AccessKeyId":"AKIA1"}`, client.ErrNotKeyrot},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := inside(&fake{key: func(w http.ResponseWriter, _ *http.Request) {
				if tc.tag != "" {
					w.Header().Set("ETag", tc.tag)
				}
				w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}})
			_, _, err := c.CredentialIfChanged(t.Context(), "a+b@c", `"tag"`)
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: CredentialIfChanged = %v, want %v", tc.name, err, tc.want)
			}
			if believed := c.Ahead() > time.Minute; believed == errors.Is(tc.want, client.ErrNotKeyrot) {
				t.Errorf("%s: the answer's Date is believed: %v", tc.name, believed)
			}
		})
	}
}
