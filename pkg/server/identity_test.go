package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/server"
)

// identities lets one OIDC token and one signed request in.
type identities struct {
	asked []string
	fail  error
}

func (i *identities) OIDC(_ context.Context, token string) (auth.Key, error) {
	return i.judge("oidc "+token, "a.b.c", "oidc:ci:repo")
}

func (i *identities) AWS(_ context.Context, query string) (auth.Key, error) {
	return i.judge("aws "+query, "Action=x", "aws:arn:aws:iam::1:role/app")
}

func (i *identities) judge(asked, good, id string) (auth.Key, error) {
	i.asked = append(i.asked, asked)
	_, proof, _ := strings.Cut(asked, " ")
	switch {
	case i.fail != nil:
		return auth.Key{}, i.fail
	case proof != good:
		return auth.Key{}, auth.ErrBadKey
	}
	return external(id), nil
}

func external(id string) auth.Key {
	return auth.Key{ID: id, Hash: []byte("entry"), Users: []string{"ci"}, Role: auth.Reader}
}

// known is a Tokens.External that knows the entry.
func known(id, mark string) (auth.Key, bool) {
	return external(id), mark == external(id).Mark()
}

func (w *world) withIdentities() *identities {
	i := &identities{}
	w.srv.Tokens.External = known
	w.srv = &server.Server{
		Keys: w.srv.Keys, Tokens: w.srv.Tokens, Credentials: w.disp, Health: w.health, Log: w.srv.Log, Limits: w.srv.Limits,
		Now: w.srv.Now, Identities: i,
	}
	w.h = w.srv.Handler()
	return i
}

const signed = "X-Keyrot-Aws-Identity"

func TestIdentitiesNeedNoAPIKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withIdentities()
	for _, tc := range []struct{ header, value, caller string }{
		{"Authorization", "Bearer a.b.c", "oidc:ci:repo"},
		{signed, "Action=x", "aws:arn:aws:iam::1:role/app"},
	} {
		res := w.do(t, "POST", "/generate-token", tc.header, tc.value)
		var tok api.Token
		if err := json.Unmarshal(res.Body.Bytes(), &tok); err != nil || res.Code != 200 || tok.ExpiresIn != 300 {
			t.Fatalf("POST /generate-token with %s = %d %s", tc.header, res.Code, res.Body)
		}
		bearer := "Bearer " + tok.Token
		if res := w.do(t, "GET", "/active-key?username=ci", "Authorization", bearer); res.Code != 200 || !strings.Contains(res.Body.String(), secret) {
			t.Errorf("GET /active-key by %s = %d %s", tc.caller, res.Code, res.Body)
		}
		if got := w.disp.given[len(w.disp.given)-1].Caller; got != tc.caller {
			t.Errorf("the hand-out is to %q, want %q", got, tc.caller)
		}
		if res := w.do(t, "GET", "/container-credentials/ci", "Authorization", tok.Token); res.Code != 200 {
			t.Errorf("GET /container-credentials by %s = %d", tc.caller, res.Code)
		}
		given := len(w.disp.given)
		if res := w.do(t, "GET", "/active-key?username=nobody", "Authorization", bearer); res.Code != 403 || len(w.disp.given) != given {
			t.Errorf("another user's key by %s = %d, want 403 before anything is looked up", tc.caller, res.Code)
		}
		// A token of one caller beside the API key of another.
		if res := w.do(t, "GET", "/active-key?username=ci", "X-Api-Key", w.reader, "Authorization", bearer); res.Code != 401 {
			t.Errorf("with somebody's API key beside it = %d, want 401", res.Code)
		}
		w.srv.Tokens.External = func(id, _ string) (auth.Key, bool) { return known(id, "changed") }
		if res := w.do(t, "GET", "/active-key?username=ci", "Authorization", bearer); res.Code != 403 {
			t.Errorf("after the entry is gone = %d, want 403", res.Code)
		}
		w.srv.Tokens.External = nil
		if res := w.do(t, "GET", "/active-key?username=ci", "Authorization", bearer); res.Code != 403 {
			t.Errorf("after all entries are gone = %d, want 403", res.Code)
		}
		w.srv.Tokens.External = known
	}
	if strings.Contains(w.log.String(), "a.b.c") || strings.Contains(w.log.String(), "Action=x") {
		t.Error("the log holds a proof")
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.withIdentities()
	const ak, oidc = "/active-key?username=ci", "Bearer a.b.c"
	for _, tc := range []struct {
		name, method, target string
		asked                bool
		header               []string
	}{
		{"nothing", "POST", "/generate-token", false, nil},
		{"a bad token", "POST", "/generate-token", true, []string{"Authorization", "Bearer x.y.z"}},
		{"an empty token", "POST", "/generate-token", true, []string{"Authorization", "Bearer "}},
		{"another scheme", "POST", "/generate-token", false, []string{"Authorization", "Basic a.b.c"}},
		{"two tokens", "POST", "/generate-token", false, []string{"Authorization", oidc, "Authorization", oidc}},
		{"a bad API key beside a good token", "POST", "/generate-token", false, []string{"X-Api-Key", "x", "Authorization", oidc}},
		{"an empty API key beside a good token", "POST", "/generate-token", false, []string{"X-Api-Key", "", "Authorization", oidc}},
		{"a bad API key beside a signed request", "POST", "/generate-token", false, []string{"X-Api-Key", "x", signed, "Action=x"}},
		{"a bad signed request", "POST", "/generate-token", true, []string{signed, "Action=y"}},
		{"two signed requests", "POST", "/generate-token", false, []string{signed, "Action=x", signed, "Action=x"}},
		{"a signed request and a token", "POST", "/generate-token", false, []string{signed, "Action=x", "Authorization", oidc}},
		{"a token of an API key for a new one", "POST", "/generate-token", true, []string{"Authorization", "Bearer " + w.token}},
		{"an OIDC token for a credential", "GET", ak, false, []string{"Authorization", oidc}},
		{"a signed request for a credential", "GET", ak, false, []string{signed, "Action=x"}},
		{"a token of an API key without it", "GET", ak, false, []string{"Authorization", "Bearer " + w.token}},
		{"a token of an API key beside a signed request", "GET", ak, false, []string{"Authorization", "Bearer " + w.token, signed, "Action=x"}},
	} {
		w.now = w.now.Add(1e9)
		before := len(i.asked)
		res := w.do(t, tc.method, tc.target, tc.header...)
		if got := strings.TrimSpace(res.Body.String()); res.Code != 403 || got != `{"message":"Forbidden","code":"forbidden"}` {
			t.Errorf("%s: %s %s = %d %s, want 403 Forbidden", tc.name, tc.method, tc.target, res.Code, got)
		}
		if asked := len(i.asked) > before; asked != tc.asked {
			t.Errorf("%s: asked = %t, want %t", tc.name, asked, tc.asked)
		}
	}
	if len(w.disp.given) != 0 {
		t.Errorf("%d hand-outs, want none", len(w.disp.given))
	}
	i.fail = errors.New("no route to host")
	if res := w.do(t, "POST", "/generate-token", "Authorization", oidc); res.Code != 503 || strings.Contains(res.Body.String(), "route") {
		t.Errorf("if nobody can be asked = %d %s, want 503", res.Code, res.Body)
	}
}

// TestIdentitiesAreLimited: refused proofs count for the address, good ones
// for the caller.
func TestIdentitiesAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Limits = server.Limits{Caller: 1, Failures: 1}
	i := w.withIdentities()
	codes := map[int]int{}
	for range 20 {
		codes[w.do(t, "POST", "/generate-token", "Authorization", "Bearer x.y.z").Code]++
	}
	if codes[403] < 10 || codes[429] == 0 {
		t.Errorf("20 bad tokens: answers %v, want some 429", codes)
	}
	if res := w.do(t, "POST", "/generate-token", "Authorization", "Bearer a.b.c"); res.Code != 200 {
		t.Errorf("a good token from the same address = %d, want 200", res.Code)
	}
	codes = map[int]int{}
	for range 20 {
		codes[w.do(t, "POST", "/generate-token", signed, "Action=x").Code]++
	}
	if codes[200] == 0 || codes[429] == 0 {
		t.Errorf("20 good requests of one caller: answers %v, want some 429", codes)
	}
	if len(i.asked) != 41 {
		t.Errorf("asked %d times, want 41", len(i.asked))
	}
}

// TestWithoutIdentitiesNothingChanges: proofs are no API keys to a server that
// has no identities.
func TestWithoutIdentitiesNothingChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, header := range [][]string{{"Authorization", "Bearer a.b.c"}, {signed, "Action=x"}} {
		if res := w.do(t, "POST", "/generate-token", header...); res.Code != 403 {
			t.Errorf("POST /generate-token with %s = %d, want 403", header[0], res.Code)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/active-key?username=ci", nil)
	r.Header.Set("Authorization", "Bearer "+w.token)
	res := httptest.NewRecorder()
	w.h.ServeHTTP(res, r)
	if res.Code != 403 {
		t.Errorf("GET /active-key without an API key = %d, want 403", res.Code)
	}
}
