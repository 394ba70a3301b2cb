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

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := &cache{entries: map[string]fresh{}}
	for i := range 3 * maxCached {
		c.put(fmt.Sprint(i), 1, rotate.Entry{})
	}
	if len(c.entries) > maxCached {
		t.Errorf("%d entries, want at most %d", len(c.entries), maxCached)
	}
	if _, ok := c.get(fmt.Sprint(3*maxCached-1), 2); ok {
		t.Error("an entry of an older version was returned")
	}
}
