package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/agent"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// source is a server that rotates every 10 minutes and can fail.
type source struct {
	mu    sync.Mutex
	err   error
	asked int
	begin time.Time
}

func (s *source) CredentialIfChanged(_ context.Context, user, tag string) (api.Credential, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return api.Credential{}, "", s.err
	}
	created := s.begin.Add(time.Since(s.begin).Truncate(10 * time.Minute))
	id := "AKIA" + created.UTC().Format("150405")
	if tag == id {
		return api.Credential{}, tag, client.ErrNotModified
	}
	return api.Credential{AccessKeyID: id, SecretAccessKey: "verysecret", UserName: user, CreateDate: created, Expiration: created.Add(12 * time.Minute)}, id, nil
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// running starts an agent over a source in a bubble.
func running(t *testing.T) (*agent.Agent, *source) {
	t.Helper()
	s := &source{begin: time.Now()}
	a := &agent.Agent{Source: s, Users: []string{"ci", "mailer"}, Token: func() (string, error) { return "the-token", nil }}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return a, s
}

func TestRefreshAheadForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, s := running(t)
		keys := map[string]bool{}
		for range 24 * 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			c, err := a.Credential("ci")
			if err != nil || !c.Expiration.After(time.Now().Add(time.Minute)) {
				t.Fatalf("Credential = %v, %v: want a minute left at least", c, err)
			}
			keys[c.AccessKeyID] = true
		}
		if len(keys) != 144+1 && len(keys) != 144 {
			t.Errorf("%d keys in a day, want 144", len(keys))
		}
		if n := s.calls(); n < 2*24*60*2 || n > 2*24*60*6 {
			t.Errorf("the server was asked %d times in a day for two users, want every 15 to 30 s", n)
		}
	})
}

func TestLastKnownGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, s := running(t)
		begun := time.Now()
		s.fail(client.ErrUnreachable)
		time.Sleep(12*time.Minute - 2*time.Second)
		if _, err := a.Credential("ci"); err != nil {
			t.Errorf("before its Expiration: %v", err)
		}
		time.Sleep(2 * time.Second)
		if c, err := a.Credential("ci"); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("at its Expiration (%s): %v, %v, want the reason", time.Since(begun), c, err)
		}
		before := s.calls()
		time.Sleep(10 * time.Minute)
		if n := s.calls() - before; n < 2*60 || n > 2*10*60 {
			t.Errorf("asked %d times in 10 minutes without anything: want every 2.5 to 5 s for each user", n)
		}
		s.fail(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, err := a.Credential("ci"); err != nil {
			t.Errorf("5 s after the server came back: %v", err)
		}
	})
}

// hanging answers once, then nothing until it is told to, or its context ends
// if it heeds that.
type hanging struct {
	*source
	deaf bool
	hang chan struct{}
}

func (h *hanging) CredentialIfChanged(ctx context.Context, user, tag string) (api.Credential, string, error) {
	if h.calls() > 0 { // also when what is held does not work any more, and no tag is sent
		if h.deaf {
			<-h.hang
		} else {
			<-ctx.Done()
			return api.Credential{}, "", ctx.Err()
		}
	}
	return h.source.CredentialIfChanged(ctx, user, tag)
}

func TestAlive(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		deaf bool
		want bool
	}{
		{"a server that hangs is no reason to die", false, true},
		{"a loop that is stuck is", true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &hanging{source: &source{begin: time.Now()}, deaf: tc.deaf, hang: make(chan struct{})}
			a := &agent.Agent{Source: s, Users: []string{"ci"}}
			if err := a.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { a.Run(ctx); close(done) }()
			if !a.Alive() {
				t.Errorf("%s: dead from the start", tc.name)
			}
			time.Sleep(10 * time.Minute)
			if got := a.Alive(); got != tc.want {
				t.Errorf("%s: Alive = %v, want %v", tc.name, got, tc.want)
			}
			if _, err := a.Credential("ci"); err != nil {
				t.Errorf("%s: the last known good is gone: %v", tc.name, err)
			}
			time.Sleep(2 * time.Minute)
			if _, err := a.Credential("ci"); err == nil || !tc.deaf && !errors.Is(err, client.ErrUnreachable) {
				t.Errorf("%s: after its Expiration: %v", tc.name, err)
			}
			stop()
			close(s.hang)
			<-done
		})
	}
}

func TestABurnedKeyIsGoneInHalfAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, s := running(t)
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.begin = s.begin.Add(17 * time.Second) // another key from now on
		s.mu.Unlock()
		before, _ := a.Credential("ci")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if after, err := a.Credential("ci"); err != nil || after.AccessKeyID == before.AccessKeyID {
			t.Errorf("30 s after the burn: %v, %v, want another key", after, err)
		}
	})
}

func TestRefusalTakesTheCredentialAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, s := running(t)
		s.fail(api.FromAnswer(403, api.Error{Code: "user_not_allowed"}))
		time.Sleep(11 * time.Minute)
		if c, err := a.Credential("ci"); !errors.Is(err, api.ErrNotAllowed) {
			t.Errorf("Credential = %v, %v, want ErrNotAllowed", c, err)
		}
	})
}

func TestAStrangersRefusalTakesNothingAway(t *testing.T) {
	t.Parallel()
	for _, answer := range []struct {
		status  int
		message string
	}{{401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {410, "Gone"}} {
		synctest.Test(t, func(t *testing.T) {
			a, s := running(t)
			s.fail(api.FromAnswer(answer.status, api.Error{Message: answer.message}))
			time.Sleep(12*time.Minute - 2*time.Second)
			if _, err := a.Credential("ci"); err != nil {
				t.Errorf("a gateway answered %d: before its Expiration the credential is gone: %v", answer.status, err)
			}
			if n := s.calls(); n < 2*12*60/30 {
				t.Errorf("a gateway answered %d: asked again %d times for two users in 12 minutes, want every 30 s", answer.status, n)
			}
			s.fail(nil)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if c, err := a.Credential("ci"); err != nil || time.Until(c.Expiration) < time.Minute {
				t.Errorf("the gateway lets requests pass again: %v, %v, want a fresh credential", c, err)
			}
		})
	}
}

func TestFailsFast(t *testing.T) {
	t.Parallel()
	s := &source{err: client.ErrUnreachable, begin: time.Now()}
	a := &agent.Agent{Source: s, Users: []string{"ci", "mailer"}}
	err := a.Start(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), `"ci"`) || !strings.Contains(err.Error(), `"mailer"`) {
		t.Errorf("Start = %v, want an error for each user", err)
	}
	if err := (&agent.Agent{Source: s}).Start(t.Context()); err == nil {
		t.Error("Start without users succeeded")
	}
}

// started is an agent with its HTTP endpoint.
func started(t *testing.T) (*agent.Agent, *source, *httptest.Server) {
	t.Helper()
	s := &source{begin: time.Now()}
	a := &agent.Agent{Source: s, Users: []string{"ci"}, Token: func() (string, error) { return "the-token", nil }}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler())
	t.Cleanup(srv.Close)
	return a, s, srv
}

func ask(t *testing.T, url string, edit func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "the-token")
	if edit != nil {
		edit(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK && len(raw) == 0 {
		t.Error("an empty 200")
	}
	return res.StatusCode, string(raw)
}

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	_, _, srv := started(t)
	port := srv.Listener.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.1"):]
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, tc := range []struct {
		name string
		edit func(*http.Request)
		path string
		want int
	}{
		{"the token", nil, "ci", 200},
		{"localhost", host("localhost" + port), "ci", 200},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, "ci", 401},
		{"a wrong token", header("Authorization", "the-tokem"), "ci", 401},
		{"a token and more", header("Authorization", "the-token2"), "ci", 401},
		{"Bearer is not what SDKs send", header("Authorization", "Bearer the-token"), "ci", 401},
		{"two tokens", func(r *http.Request) { r.Header.Add("Authorization", "the-token") }, "ci", 401},
		{"another host's name (DNS rebinding)", host("evil.example" + port), "ci", 403},
		{"another port", host("127.0.0.1:1"), "ci", 403},
		{"a name that looks like loopback", host("127.0.0.1.evil.example" + port), "ci", 403},
		{"through a proxy", header("X-Forwarded-For", "10.0.0.1"), "ci", 403},
		{"through a proxy that says so properly", header("Forwarded", "for=10.0.0.1"), "ci", 403},
		{"from a browser", header("Origin", "http://evil.example"), "ci", 403},
		{"a user that was not asked for", nil, "root", 404},
		{"an escaped path", nil, "..%2fci", 404},
	} {
		status, body := ask(t, srv.URL+"/container-credentials/"+tc.path, tc.edit)
		if status != tc.want || (status != 200) == strings.Contains(body, "verysecret") {
			t.Errorf("%s: %d %s, want %d", tc.name, status, body, tc.want)
		}
	}
	if status, body := ask(t, srv.URL+"/metrics", nil); status != 200 || !strings.Contains(body, `keyrot_agent_refused_total{reason="foreign"} 6`) ||
		!strings.Contains(body, `keyrot_agent_served_total{user="ci",via="http"} 2`) || strings.Contains(body, "verysecret") {
		t.Errorf("metrics: %d\n%s", status, body)
	}
	if status, _ := ask(t, srv.URL+"/metrics", host("evil.example")); status != 403 {
		t.Errorf("metrics for another host: %d, want 403", status)
	}
}

func TestTokenPerSDK(t *testing.T) {
	t.Parallel()
	_, _, srv := started(t)
	for ua, want := range map[string]bool{"aws-sdk-java/2.57.8": false, "python-urllib3/2": true, "": true} {
		_, body := ask(t, srv.URL+"/container-credentials/ci", func(r *http.Request) { r.Header.Set("User-Agent", ua) })
		if got := strings.Contains(body, `"Token":""`); got != want || !strings.Contains(body, `"Expiration":"20`) {
			t.Errorf("User-Agent %q: Token there = %v, want %v: %s", ua, got, want, body)
		}
	}
}

func TestNothingToGiveIs503(t *testing.T) {
	t.Parallel()
	s := &source{err: client.ErrUnreachable, begin: time.Now()}
	a := &agent.Agent{Source: s, Users: []string{"ci"}, Token: func() (string, error) { return "the-token", nil }}
	_ = a.Start(t.Context())
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	status, body := ask(t, srv.URL+"/container-credentials/ci", nil)
	var e api.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil || status != 503 || !strings.Contains(e.Message, "cannot be reached") {
		t.Errorf("%d %s, want 503 and the reason", status, body)
	}
	if c, err := a.Give("ci"); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("Give = %v, %v", c, err)
	}
	if c, err := a.Give("eve"); !errors.Is(err, api.ErrUnknownUser) {
		t.Errorf("Give of a user that was not asked for = %v, %v", c, err)
	}
	if _, body := ask(t, srv.URL+"/metrics", nil); !strings.Contains(body, `keyrot_agent_refused_total{reason="no_credential"} 2`) || !strings.Contains(body, `keyrot_agent_refused_total{reason="unknown_user"} 1`) {
		t.Errorf("metrics: %s", body)
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sub", "token")
	read, err := agent.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := read()
	if info, serr := os.Stat(path); err != nil || serr != nil || info.Mode().Perm() != 0o600 || len(first) < 40 {
		t.Errorf("token = %q, %v, %v", first, err, info)
	}
	again, err := agent.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again(); second != first || err != nil {
		t.Errorf("after a restart: %q, %v, want %q", second, err, first)
	}
	rotated := strings.Repeat("x", 30)
	if err := os.WriteFile(path, []byte(rotated), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(); got != rotated || err != nil {
		t.Errorf("after a change: %q, %v", got, err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if got, err := read(); got != rotated || err != nil {
		t.Errorf("after the file was deleted: %q, %v, want the same token", got, err)
	}
	if raw, err := os.ReadFile(path); string(raw) != rotated || err != nil {
		t.Errorf("the file was made again as %q, %v", raw, err)
	}
	for _, bad := range []string{"", "short", rotated + "\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(); err == nil {
			t.Errorf("a file with %q gives %q, want an error", bad, got)
		}
	}
	if err := errors.Join(os.WriteFile(path, []byte(rotated), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil {
		t.Error("a file that others can read is accepted")
	}
}

func TestTheTokenFileIsLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var asked atomic.Int64
		bad := errors.New("agent.token is empty")
		a := &agent.Agent{
			Source: &source{begin: time.Now()}, Users: []string{"ci"}, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Token: func() (string, error) { asked.Add(1); return "", bad },
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.Run(ctx); close(done) }()
		time.Sleep(time.Minute)
		res := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/container-credentials/ci", nil)
		req.RemoteAddr = "127.0.0.1:1"
		a.Handler().ServeHTTP(res, req)
		stop()
		<-done
		if asked.Load() < 10 || strings.Count(log.String(), "agent.token is empty") != 1 {
			t.Errorf("looked at it %d times in a minute without a request, and told %q; want it told once", asked.Load(), log.String())
		}
		if res.Code != http.StatusServiceUnavailable {
			t.Errorf("a request is answered %d, want 503", res.Code)
		}
	})
}

func TestSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ka") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "d", "s")
	first, err := agent.ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v, want mode 0600", info, err)
	}
	if _, err := agent.ListenSocket(t.Context(), path); !errors.Is(err, agent.ErrRunning) {
		t.Errorf("a second agent: %v, want ErrRunning", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v, want it gone", err)
	}
	// What an agent that was killed leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	second, err := agent.ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	_ = second.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.ListenSocket(t.Context(), path); err == nil {
		t.Error("a file in the socket's place was replaced")
	}
}
