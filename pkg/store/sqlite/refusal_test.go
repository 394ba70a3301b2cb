package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/seal"
)

// saved returns the path of a closed store with one entry, without a -wal.
func saved(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s := openAt(t, path)
	save(t, s, entry("ann"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func execSQL(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, o Options, want error) {
	t.Helper()
	before, _ := os.ReadFile(o.Path)
	s, err := Open(t.Context(), o)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("Open = %v, want %v", err, want)
	}
	if hint.Of(err) == "" && !errors.Is(want, seal.ErrWrongKey) {
		t.Errorf("Open = %v without a hint", err)
	}
	if after, _ := os.ReadFile(o.Path); !bytes.Equal(before, after) {
		t.Error("Open changed the file")
	}
}

func TestNewerStoreIsRefused(t *testing.T) {
	t.Parallel()
	path := saved(t)
	execSQL(t, path, "PRAGMA user_version = 99")
	refused(t, Options{Path: path, Key: testKey(t, 1)}, ErrNewer)
}

func TestCorruptStoreIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return bytes.Repeat([]byte("keyrot "), 1000) },
		"cut short":   func(b []byte) []byte { return b[:len(b)/2] },
		"overwritten": func(b []byte) []byte {
			copy(b[4096+50:], bytes.Repeat([]byte{0xff}, 4096*3))
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := saved(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(b), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, Options{Path: path, Key: testKey(t, 1)}, ErrCorrupt)
		})
	}
}

func TestOtherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.db")
	execSQL(t, path, "CREATE TABLE precious (x)")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, Options{Path: path, Key: testKey(t, 1)}, ErrCorrupt)
}

func TestWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	refused(t, Options{Path: saved(t), Key: testKey(t, 2)}, seal.ErrWrongKey)
}

func TestLostKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	key := seal.KeyFile(path + ".key")
	s, err := Open(t.Context(), Options{Path: path, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	save(t, s, entry("ann"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".key"); err != nil {
		t.Fatal(err)
	}
	refused(t, Options{Path: path, Key: key}, seal.ErrKeyMissing)
	if _, err := os.Stat(path + ".key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key file was made again: %v", err)
	}
}

func TestKeyOfAnEmptyStoreMayBeReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	first := openAt(t, path)
	second, err := Open(t.Context(), Options{Path: path, Key: testKey(t, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	save(t, second, entry("ann"))
	if _, err := first.Save(t.Context(), entry("bob")); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("Save with the replaced key = %v, want %v", err, seal.ErrWrongKey)
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: saved(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if l, err := s.List(t.Context()); err != nil || len(l) != 1 {
		t.Errorf("List = %v, %v", l, err)
	}
	if due, err := s.Due(t.Context(), now, false, 1); err != nil || len(due) != 1 {
		t.Errorf("Due = %v, %v", due, err)
	}
	_, load := s.Load(t.Context(), "ann")
	_, saving := s.Save(t.Context(), entry("bob"))
	_, _, setting := s.Setting(t.Context(), "x")
	_, saveSetting := s.SaveSetting(t.Context(), "x", nil, 0)
	for _, err := range []error{load, saving, setting, saveSetting} {
		if !errors.Is(err, seal.ErrKeyMissing) {
			t.Errorf("without a key: %v, want %v", err, seal.ErrKeyMissing)
		}
	}
}

func TestReadOnlyFileIsRefused(t *testing.T) {
	t.Parallel()
	path := saved(t)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	refused(t, Options{Path: path, Key: testKey(t, 1)}, ErrReadOnly)
}

func TestUnusablePaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open.db")
	if err := os.WriteFile(open, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                               "no path",
		dir:                              "not a regular file",
		open:                             "mode 0644",
		filepath.Join(open, "keyrot.db"): "not a directory",
	} {
		if _, err := Open(t.Context(), Options{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, want %q", path, err, want)
		}
	}
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a dir with ?#% in its name")
	s := openAt(t, filepath.Join(dir, "keyrot.db"))
	save(t, s, entry("ann"))
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 3 {
		t.Errorf("directory holds %v, %v, want the file, -wal and -shm", names, err)
	}
	for _, n := range names {
		if info, err := n.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", n.Name(), info.Mode(), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil || bytes.Contains(b, []byte("secret of ann")) {
			t.Errorf("%s holds a secret in the clear, %v", n.Name(), err)
		}
	}
}

// TestFailedWrite checks that a save that SQLite refuses is told apart and
// leaves the old entry readable.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pragma string
		want   error
	}{
		{"PRAGMA max_page_count = 1", ErrFull}, // SQLite makes it the current size
		{"PRAGMA query_only = 1", ErrReadOnly},
	} {
		s := openNew(t)
		want := save(t, s, entry("ann"))
		if _, err := s.write.ExecContext(t.Context(), c.pragma); err != nil {
			t.Fatal(err)
		}
		big := want
		big.Record.Error = strings.Repeat("x", 1<<20)
		_, err := s.Save(t.Context(), big)
		if !errors.Is(err, c.want) || hint.Of(err) == "" {
			t.Errorf("%s: Save = %v, want %v and a hint", c.pragma, err, c.want)
		}
		got, err := s.Load(t.Context(), "ann")
		if err != nil || got.Version != want.Version || got.Secrets["AKIA2ann"].Reveal() != "second secret of ann" {
			t.Errorf("%s: after the failed Save: version %d, %v, want %d", c.pragma, got.Version, err, want.Version)
		}
	}
}

func TestFullDiskIsToldWhenTheSharedMemoryCannotGrow(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]error{4874: ErrFull, 13: ErrFull, 778: nil, 5: ErrLocked, 261: ErrLocked, 1032: ErrReadOnly, 11: ErrCorrupt} {
		if got := meaning(code); !errors.Is(got, want) {
			t.Errorf("meaning(%d) = %v, want %v", code, got, want)
		}
	}
}

func TestLockedStore(t *testing.T) {
	t.Parallel()
	path := saved(t)
	holder := openAt(t, path)
	tx, err := holder.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	short := Options{Path: path, Key: testKey(t, 1), LockWait: 20 * time.Millisecond}
	if _, err := Open(t.Context(), short); !errors.Is(err, ErrLocked) || hint.Of(err) == "" {
		t.Errorf("Open of a locked store = %v, want %v and a hint", err, ErrLocked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, short); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a cancelled context = %v", err)
	}
}

// TestFirstOpenWaits holds the lock on which switching to WAL fails at once,
// without SQLite's busy handler, as it does when several processes open a new
// store together.
func TestFirstOpenWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keyrot.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		execSQL(t, path, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
		holder, err := sql.Open("sqlite", path+"?_txlock=immediate")
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		tx, err := holder.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan error)
		go func() {
			s, err := Open(t.Context(), Options{Path: path, Key: testKey(t, 1)})
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
		synctest.Wait() // the first attempt has failed
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if err := <-opened; err != nil {
			t.Errorf("Open after the lock was released = %v", err)
		}
	})
}
