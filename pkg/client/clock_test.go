package client_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// dating is a server that takes proofs dated within half a minute of its clock,
// which is AWS's.
type dating struct {
	header  string // that its answers have beside the date
	refusal string // code of its refusals; "": those of something before it
	asked   int    // for tokens
	life    int    // of tokens, in seconds
}

func (s *dating) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if s.header != "" {
		w.Header().Set(s.header, "7")
	}
	if r.URL.Path == api.PathActiveKey {
		_ = json.NewEncoder(w).Encode(api.Credential{AccessKeyID: "AKIA1", SecretAccessKey: "s", Expiration: time.Now().Add(time.Minute), UserName: "ci"})
		return
	}
	s.asked++
	at, err := strconv.ParseInt(r.Header.Get("Proof"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > 30*time.Second {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(api.Error{Message: "Forbidden", Code: s.refusal})
		return
	}
	_ = json.NewEncoder(w).Encode(api.Token{Token: "t", ExpiresIn: s.life})
}

// client is one of the server's, without a network, whose time is not a bubble's.
func (s *dating) client(now func() time.Time) *client.Client {
	return &client.Client{Endpoint: "http://localhost", Proof: stamp, Now: now, HTTP: &http.Client{Transport: within{s}}}
}

// stamp is a proof that is good at its date only.
func stamp(_ context.Context, now time.Time) (header, value string, err error) {
	return "Proof", strconv.FormatInt(now.Unix(), 10), nil
}

// A client whose clock is wrong proves who asks by the server's, at the second
// attempt, and then knows the time.
func TestAClientWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, off := range []time.Duration{0, time.Minute, -time.Minute, 10 * time.Minute, -10 * time.Minute, day, -day} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { clockIsOff(t, off) })
		})
	}
}

func clockIsOff(t *testing.T, off time.Duration) {
	t.Helper()
	s := &dating{refusal: "forbidden", life: 1}
	c := s.client(func() time.Time { return time.Now().Add(off) })
	attempts := 0
	for range 2 { // a token of a second is never used twice
		if _, err := c.Credential(t.Context(), "ci"); err != nil {
			t.Fatalf("Credential = %v", err)
		}
		if attempts == 0 {
			attempts = s.asked
		}
	}
	want := 2
	if off == 0 {
		want = 1
	}
	if attempts != want || s.asked != attempts+1 {
		t.Errorf("%d attempts to get the first token and %d for two, want %d and %d", attempts, s.asked, want, want+1)
	}
	if d := time.Since(c.Time()).Abs(); d > time.Second {
		t.Errorf("Time() is %s away from the server's", d)
	}
	if d := c.Ahead() + off; d.Abs() > time.Second || off == 0 && d != 0 {
		t.Errorf("Ahead() = %s with a clock that is %s ahead", c.Ahead(), off)
	}
	again := s.client(c.Now)
	again.UseAhead(c.Ahead())
	if _, err := again.Credential(t.Context(), "ci"); err != nil || s.asked != attempts+2 {
		t.Errorf("a client that was told how wrong its clock is: %v after %d attempts, want 1", err, s.asked-attempts-1)
	}
}

// The date of what is not keyrot's own answer, or of one that a cache kept, tells
// nothing.
func TestWhoMayTellTheClientTheTime(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*dating{"a gateway's refusal": {}, "an answer that a cache kept": {refusal: "forbidden", header: "Age"}} {
		synctest.Test(t, func(t *testing.T) {
			c := s.client(func() time.Time { return time.Now().Add(time.Hour) })
			if _, err := c.Credential(t.Context(), "ci"); err == nil || s.asked == 0 || c.Ahead() != 0 {
				t.Errorf("%s: %v after %d attempts, the clock is off by %s; want a refusal, and no time", name, err, s.asked, c.Ahead())
			}
		})
	}
}

// How long a token is good for is told, not until when: the client's clock need
// not be right.
func TestATokenLastsByTheClientsOwnClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 10 * time.Minute, 24 * time.Hour} {
		s := &dating{refusal: "forbidden", life: 300}
		now := time.Now().Add(off)
		c := s.client(func() time.Time { return now })
		get := func() int {
			t.Helper()
			if _, err := c.Credential(t.Context(), "ci"); err != nil {
				t.Fatal(err)
			}
			return s.asked
		}
		first := get()
		now = now.Add(4 * time.Minute)
		if later := get(); later != first {
			t.Errorf("off by %s: a token of five minutes was not used for four", off)
		}
	}
}
