package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// TestLoadIsNeverOld saves through one store and loads through another, which
// has the entry cached: what was saved before a Load began is what it returns.
func TestLoadIsNeverOld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	writer, reader := openShared(t, path), openShared(t, path)
	e := rotate.Entry{Record: plan.Record{User: "ci"}, Secrets: map[string]rotate.Secret{}}
	for i := range 200 {
		e.Record.Error = fmt.Sprint(i)
		version, err := writer.Save(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		e.Version = version
		var wg sync.WaitGroup
		for _, s := range []*Store{writer, reader, reader, reader} {
			wg.Go(func() {
				got, err := s.Load(t.Context(), "ci")
				if err != nil || got.Version != version || got.Record.Error != e.Record.Error {
					t.Errorf("Load = version %d, %q, %v, want %d, %q", got.Version, got.Record.Error, err, version, e.Record.Error)
				}
			})
		}
		wg.Wait()
	}
	if err := writer.Remove(t.Context(), "ci", e.Version); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Load(t.Context(), "ci"); !errors.Is(err, rotate.ErrNotFound) {
		t.Errorf("Load after Remove = %v, want ErrNotFound", err)
	}
}

// TestOtherCommitsKeepAnEntry makes what is cached tell itself apart from what
// is stored.
func TestOtherCommitsKeepAnEntry(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s, other := openShared(t, path), openShared(t, path)
	e := rotate.Entry{Record: plan.Record{User: "ci"}, Secrets: map[string]rotate.Secret{}}
	var err error
	if e.Version, err = s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	load := func(want string) {
		t.Helper()
		if got, err := s.Load(t.Context(), "ci"); err != nil || got.Record.Error != want {
			t.Errorf("Load = %q, %v, want %q", got.Record.Error, err, want)
		}
	}
	load("")
	s.cache.mu.Lock()
	f := s.cache.entries["ci"]
	f.entry.Record.Error = "cached"
	s.cache.entries["ci"] = f
	s.cache.mu.Unlock()
	now := time.Now()
	if _, err := other.Acquire(t.Context(), "ci", "somebody", now, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), rotate.Entry{Record: plan.Record{User: "mailer"}}); err != nil {
		t.Fatal(err)
	}
	load("cached")
	e.Record.Error = "stored"
	if _, err := other.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	load("stored")
}

// TestCacheIsNotSharedWithCallers changes what Load returned.
func TestCacheIsNotSharedWithCallers(t *testing.T) {
	t.Parallel()
	s := openShared(t, filepath.Join(t.TempDir(), "keyrot.db"))
	e := rotate.Entry{
		Record:  plan.Record{User: "ci", Keys: []plan.Held{{ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current}}},
		Secrets: map[string]rotate.Secret{"AKIAIOSFODNN7EXAMPLE": rotate.NewSecret("x")},
	}
	if _, err := s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := s.Load(t.Context(), "ci")
		if err != nil || len(got.Secrets) != 1 || got.Record.Keys[0].Stage != plan.Current {
			t.Fatalf("Load = %+v, %v", got, err)
		}
		got.Record.Keys[0].Stage = plan.Previous
		clear(got.Secrets)
	}
}

// TestCacheIsBounded asks for half as many users again as there is room for, in
// turn: what is cached is never too much, and a third of the users is found.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	const bytes = 64 << 10
	c, users, found := newCache(), cacheBytes/bytes*3/2, 0
	for i := range 10 * users {
		user := fmt.Sprint(i % users)
		if _, ok := c.get(user); ok {
			found++
			continue
		}
		c.put(rotate.Entry{Record: plan.Record{User: user}}, 1, bytes)
		if n := len(c.entries); c.bytes != n*bytes || c.bytes > cacheBytes {
			t.Fatalf("%d entries of %d bytes count as %d, want at most %d", n, bytes, c.bytes, cacheBytes)
		}
	}
	if found < 3*users {
		t.Errorf("%d of %d times the user was cached, want a third", found, 10*users)
	}
	c.put(rotate.Entry{Record: plan.Record{User: "large"}}, 1, cacheBytes+1)
	if _, ok := c.get("large"); ok || c.bytes == 0 {
		t.Error("an entry that does not fit took the place of the others")
	}
}

// TestCacheLeavesOutWhatMayBeOld: between the reading of an entry and its
// caching another one learned that it was saved anew.
func TestCacheLeavesOutWhatMayBeOld(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		read int64 // the version that was given out last when the entry was read
		want bool
	}{
		{"read before the latest asking", 6, false},
		{"read at the latest asking", 7, true},
		{"read after the latest asking", 8, true},
	} {
		c := newCache()
		c.follow(news{version: 7, saved: map[string]int64{"ci": 7}}, false)
		c.put(rotate.Entry{Record: plan.Record{User: "ci"}, Version: 5}, tt.read, 1)
		if _, ok := c.get("ci"); ok != tt.want {
			t.Errorf("%s: cached %t, want %t", tt.name, ok, tt.want)
		}
	}
}

// TestARemovedUserIsForgotten: the others stay cached, whoever removed it.
func TestARemovedUserIsForgotten(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(t *testing.T, other *Store, version int64){
		"by another process": func(t *testing.T, other *Store, version int64) {
			if err := other.Remove(t.Context(), "ci", version); err != nil {
				t.Fatal(err)
			}
		},
		"by a process of an earlier version": func(t *testing.T, other *Store, _ int64) {
			if _, err := other.write.ExecContext(t.Context(), `DELETE FROM entries WHERE user = 'ci'`); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyrot.db")
			s, other := openShared(t, path), openShared(t, path)
			versions := map[string]int64{}
			for _, user := range []string{"ci", "mailer"} {
				v, err := s.Save(t.Context(), rotate.Entry{Record: plan.Record{User: user}})
				if err != nil {
					t.Fatal(err)
				}
				versions[user] = v
				if _, err := s.Load(t.Context(), user); err != nil {
					t.Fatal(err)
				}
			}
			remove(t, other, versions["ci"])
			if _, err := s.Load(t.Context(), "ci"); !errors.Is(err, rotate.ErrNotFound) {
				t.Errorf("Load of the removed user = %v, want ErrNotFound", err)
			}
			if _, ok := s.cache.get("mailer"); !ok {
				t.Error("the other user is cached no longer")
			}
		})
	}
}

// TestAStoreThatWasPutBack has versions again that were given out before.
func TestAStoreThatWasPutBack(t *testing.T) {
	t.Parallel()
	s := openShared(t, filepath.Join(t.TempDir(), "keyrot.db"))
	e := rotate.Entry{Record: plan.Record{User: "ci"}}
	for range 3 {
		var err error
		if e.Version, err = s.Save(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Load(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), `UPDATE head SET version = 1; UPDATE entries SET version = 1`); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(t.Context(), "ci"); err != nil || got.Version != 1 {
		t.Errorf("Load = version %d, %v, want 1", got.Version, err)
	}
}

// TestAConflictIsNotMadeOfWhatIsCached: whatever made an entry old without its
// version, the next attempt reads the file.
func TestAConflictIsNotMadeOfWhatIsCached(t *testing.T) {
	t.Parallel()
	s := openShared(t, filepath.Join(t.TempDir(), "keyrot.db"))
	e := rotate.Entry{Record: plan.Record{User: "ci"}}
	for range 2 {
		var err error
		if e.Version, err = s.Save(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	old, err := s.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), `UPDATE entries SET version = 1`); err != nil { // by hand
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), old); !errors.Is(err, rotate.ErrConflict) {
		t.Fatalf("Save = %v, want ErrConflict", err)
	}
	if got, err := s.Load(t.Context(), "ci"); err != nil || got.Version != 1 {
		t.Errorf("Load after the conflict = version %d, %v, want 1", got.Version, err)
	}
}
