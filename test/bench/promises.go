package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // a driver
)

// promisesOf returns the least that keyrot's promises cost before each answer,
// whoever keeps them: a line of the answer is in a file that several processes
// append to, with "always" also on the disk, and the store, which they share, was
// asked after the request came. Requests side by side share all of that. ""
// promises nothing.
func promisesOf(ctx context.Context, logged string) (all []*shared, end func(), err error) {
	if logged == "" {
		return nil, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "floor-")
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // #nosec G304 -- in a folder of our own
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	end = func() { _ = errors.Join(f.Close(), os.RemoveAll(dir)) }
	version, err := openVersion(ctx, filepath.Join(dir, "store"))
	if err != nil {
		return nil, end, err
	}
	lock, err := os.Create(path + ".lock") // #nosec G304 -- in a folder of our own
	if err != nil {
		return nil, end, err
	}
	return []*shared{
		{do: func([]byte) error { var n int; return version.QueryRowContext(ctx, 0).Scan(&n) }},
		{do: func(text []byte) error { return underLock(lock, f, text, logged == "always") }},
	}, end, nil
}

// openVersion makes a store of one row and returns the question for it.
func openVersion(ctx context.Context, path string) (*sql.Stmt, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `CREATE TABLE head (version INTEGER); INSERT INTO head VALUES (1)`); err != nil {
		return nil, err
	}
	return db.PrepareContext(ctx, `SELECT version FROM head WHERE version > ?`)
}

// underLock appends to the log, to which others may append, too, and may sync it.
func underLock(lock, log *os.File, text []byte, synced bool) error {
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	_, err := os.Stat(log.Name()) // whether it was moved, and whether others have appended
	if err == nil {
		_, err = log.Write(text)
	}
	if err == nil && synced {
		err = log.Sync()
	}
	return errors.Join(err, syscall.Flock(int(lock.Fd()), syscall.LOCK_UN))
}

// shared is something that is done once for all who came before it began. The
// zero value with do is ready.
type shared struct {
	do      func(text []byte) error
	turn    sync.Mutex // held by whoever does it
	mu      sync.Mutex
	joining *round
}

// round is one time that it is done.
type round struct {
	text []byte // of all who joined
	done bool
	err  error
}

func (s *shared) join(text []byte) error {
	s.mu.Lock()
	if s.joining == nil {
		s.joining = &round{}
	}
	r := s.joining
	r.text = append(r.text, text...)
	s.mu.Unlock()
	s.turn.Lock()
	defer s.turn.Unlock()
	if r.done {
		return r.err
	}
	s.mu.Lock()
	s.joining = nil
	s.mu.Unlock()
	r.err, r.done = s.do(r.text), true
	return r.err
}
