package getkey

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

func (s *Source) want(t *testing.T, what, id string) {
	t.Helper()
	if c, err := s.Credential(t.Context(), "ci"); err != nil || c.AccessKeyID != id {
		t.Errorf("%s: Credential = %q, %v, want %q", what, c.AccessKeyID, err, id)
	}
}

func TestTheSecondCallIsLocal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		for range 5 {
			s.want(t, "within its life", "AKIAFIRST")
		}
		if n := f.requests.Load(); n != 2 {
			t.Errorf("5 calls made %d requests, want 2", n)
		}
		*now = now.Add(10*time.Minute + time.Second)
		f.key.Store("AKIASECOND")
		s.want(t, "little is left: ask again", "AKIASECOND")
	})
}

func TestLittleIsLeftAndNothingNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		s.want(t, "first", "AKIAFIRST")
		*now = now.Add(10*time.Minute + time.Second)
		before := f.requests.Load()
		for range 10 {
			s.want(t, "not modified", "AKIAFIRST")
		}
		if n := f.requests.Load() - before; n > 2 {
			t.Errorf("10 calls in a moment made %d requests, want the token's and one more", n)
		}
	})
}

func TestABurnedKeyIsGoneInAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		s.want(t, "first", "AKIAFIRST")
		f.key.Store("AKIASECOND")
		before := f.requests.Load()
		*now = now.Add(poll - time.Second)
		s.want(t, "the cache's word counts for a minute", "AKIAFIRST")
		if n := f.requests.Load() - before; n != 0 {
			t.Errorf("within a minute %d requests were made, want none", n)
		}
		*now = now.Add(time.Second)
		s.want(t, "a minute later", "AKIASECOND")
		if n := f.requests.Load() - before; n != 1 {
			t.Errorf("asking again took %d requests, want one", n)
		}
	})
}

func TestServerTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		s.want(t, "first", "AKIAFIRST")
		f.status.Store(500)
		*now = now.Add(11 * time.Minute)
		s.want(t, "the server fails: what is valid is used", "AKIAFIRST")
		*now = f.created.Add(12*time.Minute - time.Millisecond)
		if c, err := s.Credential(shortly(t), "ci"); err == nil {
			t.Errorf("at its Expiration: Credential = %v, want an error", c)
		}
		f.status.Store(0)
		f.created = *now
		f.key.Store("AKIASECOND")
		s.want(t, "the server is back", "AKIASECOND")
	})
}

func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		s.want(t, "first", "AKIAFIRST")
		f.hang.Store(true)
		*now = now.Add(11 * time.Minute)
		s.want(t, "what is valid is used", "AKIAFIRST")
		f.hang.Store(false)
		f.key.Store("AKIASECOND")
		*now = now.Add(30 * time.Second)
		s.want(t, "it answers again", "AKIASECOND")
	})
}

func TestRefusalClearsTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for code, status := range map[string]int64{"forbidden": 403, "unauthorized": 401, "user_not_allowed": 403} {
			f, s, now := begin(t)
			s.want(t, "first", "AKIAFIRST")
			f.code = code
			f.status.Store(status)
			*now = now.Add(11 * time.Minute)
			if c, err := s.Credential(t.Context(), "ci"); !api.Withdrawn(err) {
				t.Errorf("%s: Credential = %v, %v, want the refusal", code, c, err)
			}
			files, _ := filepath.Glob(filepath.Join(s.CacheDir, "*"))
			for _, file := range files {
				if !strings.HasSuffix(file, ".lock") {
					t.Errorf("%s: %s is still there", code, file)
				}
			}
		}
	})
}

func TestAStrangersRefusalLeavesTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int64{401, 403, 404, 410} {
			f, s, now := begin(t)
			s.want(t, "first", "AKIAFIRST")
			f.status.Store(status) // in a gateway's words: without a code
			*now = now.Add(3 * time.Minute)
			s.want(t, "a gateway refuses", "AKIAFIRST")
			*now = f.created.Add(12*time.Minute - 2*time.Second)
			s.want(t, "until its Expiration", "AKIAFIRST")
			*now = f.created.Add(12 * time.Minute)
			if c, err := s.Credential(shortly(t), "ci"); err == nil {
				t.Errorf("%d: at its Expiration: %v, want an error", status, c)
			}
			f.status.Store(0)
			f.created = *now
			f.key.Store("AKIASECOND")
			s.want(t, "the gateway lets requests pass again", "AKIASECOND")
		}
	})
}

func TestTheCacheIsSealed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, now := begin(t)
		s.want(t, "first", "AKIAFIRST")
		var file string
		for _, name := range must(filepath.Glob(filepath.Join(s.CacheDir, "*"))) {
			info, err := os.Stat(name)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode(), err)
			}
			raw, err := os.ReadFile(name)
			if err != nil || bytes.Contains(raw, []byte("AKIA")) || bytes.Contains(raw, []byte("secret")) {
				t.Errorf("%s can be read: %v", name, err)
			}
			if !strings.HasSuffix(name, ".lock") {
				file = name
			}
		}
		other := *s
		other.APIKey = "another"
		k, err := other.cacheFor("ci")
		if err != nil {
			t.Fatal(err)
		}
		k.path = file
		if e := k.load(); e.Valid(*now) {
			t.Error("another API key opens the cache")
		}
		k2, err := s.cacheFor("other")
		if err != nil {
			t.Fatal(err)
		}
		k2.path = file
		if e := k2.load(); e.Valid(*now) {
			t.Error("one user's cache passes for another's")
		}
		for _, damage := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte("x"), 500)} {
			if err := os.WriteFile(file, damage, 0o600); err != nil {
				t.Fatal(err)
			}
			s.want(t, "a damaged cache is no cache", "AKIAFIRST")
		}
		before := f.requests.Load()
		*now = now.Add(-time.Hour)
		s.want(t, "a clock that was set back voids the cache", "AKIAFIRST")
		if f.requests.Load() == before {
			t.Error("a clock that was set back: the server was not asked")
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestNoStampede(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s, _ := begin(t)
		var wg sync.WaitGroup
		for range 16 { // flock is per open file, so goroutines are as good as processes
			wg.Go(func() { s.want(t, "together", "AKIAFIRST") })
		}
		wg.Wait()
		if n := f.requests.Load(); n != 2 {
			t.Errorf("16 at once made %d requests, want 2", n)
		}
	})
}

func TestALockThatIsHeld(t *testing.T) {
	t.Parallel()
	f, s, now := begin(t)
	s.want(t, "first", "AKIAFIRST")
	k := must(s.cacheFor("ci"))
	l := flock.New(k.path + ".lock")
	if ok, err := l.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer func() { _ = l.Unlock() }()
	*now = now.Add(11 * time.Minute)
	before := f.requests.Load()
	s.want(t, "valid: do not wait for who fetches", "AKIAFIRST")
	if f.requests.Load() != before {
		t.Error("the server was asked by two")
	}
}

func TestWithoutCacheAndKey(t *testing.T) {
	t.Parallel()
	f, s, _ := begin(t)
	s.CacheDir = ""
	s.want(t, "no cache", "AKIAFIRST")
	s.want(t, "no cache", "AKIAFIRST")
	if n := f.requests.Load(); n != 4 {
		t.Errorf("2 calls without cache made %d requests, want 4", n)
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.CacheDir = filepath.Join(blocked, "cache")
	s.want(t, "a cache that cannot be made", "AKIAFIRST")
	s.APIKey = ""
	if _, err := s.Credential(t.Context(), "ci"); !errors.Is(err, ErrNoAPIKey) {
		t.Errorf("without API key: %v", err)
	}
	s.APIKey, s.Endpoint = "K", "http://127.0.0.1:1"
	if _, err := s.Credential(t.Context(), "ci"); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("without server: %v, want ErrUnreachable", err)
	}
}

func TestAPIKeySources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name, env, file, want string
		fails                 bool
	}{
		{"the variable wins", " K1\n", file("a", "K2"), "K1", false},
		{"a file may end in a newline", "", file("b", "K2\r\n"), "K2", false},
		{"two lines are no key", "", file("c", "K2\nK3"), "", true},
		{"an empty file is no key", "", file("d", "\n"), "", true},
		{"a missing file is told", "", filepath.Join(dir, "none"), "", true},
		{"nothing is no error yet", "", "", "", false},
	} {
		got, err := APIKey(tc.env, tc.file)
		if got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%s: APIKey = %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestWarmNeedsNobody(t *testing.T) {
	t.Parallel()
	f, s, now := begin(t)
	var out bytes.Buffer
	vars := map[string]string{"KEYROT_API_KEY": "K", "KEYROT_CACHE_DIR": s.CacheDir, "KEYROT_AGENT_SOCKET": "/nonexistent"}
	w := World{Out: &out, Err: &out, Getenv: func(v string) string { return vars[v] }, Now: s.Now}
	o := Options{User: "ci", Format: "json", Endpoint: s.Endpoint}
	if Warm(t.Context(), &w, &o) || out.Len() > 0 {
		t.Errorf("an empty cache: done, with %q", out.String())
	}
	s.want(t, "first", "AKIAFIRST")
	before := f.requests.Load()
	if !Warm(t.Context(), &w, &o) || !strings.Contains(out.String(), "AKIAFIRST") {
		t.Errorf("a filled cache: not done, %q", out.String())
	}
	out.Reset()
	o.Profile = "x"
	if Warm(t.Context(), &w, &o) || out.Len() > 0 {
		t.Error("write-profile is not Warm's")
	}
	o.Profile = ""
	*now = now.Add(11 * time.Minute)
	if Warm(t.Context(), &w, &o) || out.Len() > 0 || f.requests.Load() != before {
		t.Errorf("little is left: done, with %q", out.String())
	}
}
