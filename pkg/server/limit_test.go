package server_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/server"
)

const ciKey = "/active-key?username=ci"

// TestGuessingLocksNobodyOut presents 10,000 bad keys from the very address
// that a good caller uses.
func TestGuessingLocksNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Limits = server.Limits{Caller: 1e6}
	w.h = w.rebuild().Handler()
	count := map[int]int{}
	for i := range 10_000 {
		res := w.do(t, "POST", "/generate-token", "X-Api-Key", fmt.Sprintf("krk_%012d_guess", i))
		count[res.Code]++
		if res.Code == 429 {
			if s, err := strconv.Atoi(res.Header().Get("Retry-After")); err != nil || s < 1 {
				t.Fatalf("429 with Retry-After %q", res.Header().Get("Retry-After"))
			}
		}
		if i%500 == 0 {
			if res := w.do(t, "GET", ciKey, "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token); res.Code != 200 {
				t.Fatalf("a good key after %d bad ones = %d %s", i, res.Code, res.Body)
			}
		}
	}
	if count[403] != 50 || count[429] != 9950 {
		t.Errorf("answers = %v, want 50 times 403, then 429", count)
	}
	w.now = w.now.Add(time.Second)
	if res := w.do(t, "POST", "/generate-token", "X-Api-Key", "krk_x"); res.Code != 403 {
		t.Errorf("a second later = %d, want 403 again", res.Code)
	}
}

// rebuild returns a server with the limits as they are now.
func (w *world) rebuild() *server.Server {
	return &server.Server{
		Keys: w.srv.Keys, Tokens: w.srv.Tokens, Credentials: w.srv.Credentials, Health: w.srv.Health,
		Log: w.srv.Log, Limits: w.srv.Limits, Now: func() time.Time { return w.now },
		Metrics: w.srv.Metrics, MetricsOpen: w.srv.MetricsOpen, Observe: w.srv.Observe,
	}
}

func TestOneCallerIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Limits = server.Limits{Caller: 2}
	w.h = w.rebuild().Handler()
	ask := func(key, token string) int {
		return w.do(t, "GET", ciKey, "X-Api-Key", key, "Authorization", "Bearer "+token).Code
	}
	for i := range 4 {
		if got := ask(w.reader, w.token); got != 200 {
			t.Fatalf("request %d = %d, want 200", i, got)
		}
	}
	res := w.do(t, "GET", ciKey, "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	if res.Code != 429 || res.Header().Get("Retry-After") != "1" {
		t.Errorf("request 5 = %d, Retry-After %q, want 429 and 1", res.Code, res.Header().Get("Retry-After"))
	}
	if got := ask(w.ciOnly, w.ciToken); got != 200 {
		t.Errorf("another caller = %d, want 200", got)
	}
	w.now = w.now.Add(500 * time.Millisecond)
	if got := ask(w.reader, w.token); got != 200 {
		t.Errorf("half a second later = %d, want 200", got)
	}
}
