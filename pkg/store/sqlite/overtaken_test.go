package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/seal"
)

// rolledBack waits until nobody holds the write lock of the store at path.
func rolledBack(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(Options{Path: path, LockWait: time.Minute}, "_txlock=immediate"))
	if err != nil {
		t.Error(err)
		return
	}
	defer db.Close()
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Error(err)
		return
	}
	_ = tx.Rollback()
}

// Opening a store that is interrupted says so, instead of naming the transaction that
// database/sql has rolled back.
func TestOpeningIsCutShort(t *testing.T) {
	t.Parallel()
	path := saved(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(ctx, Options{Path: path, Key: func(ctx context.Context, known string) (seal.Sealer, error) {
		cancel()
		rolledBack(t, path)
		return testKey(t, 1)(context.WithoutCancel(ctx), known)
	}})
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrTxDone) {
		t.Errorf("Open = %v, want %v", err, context.Canceled)
	}
	s = openAt(t, path)
	save(t, s, entry("bob"))
}

// A change whose deadline passes before it is committed says so, too.
func TestAChangeIsCutShort(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	s := openAt(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.change.add(ctx, func(ctx context.Context, _ *sql.Tx) error {
		<-ctx.Done()
		rolledBack(t, path)
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrTxDone) {
		t.Errorf("add = %v, want %v", err, context.DeadlineExceeded)
	}
	save(t, s, entry("ann"))
}
