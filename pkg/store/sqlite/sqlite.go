// Package sqlite is the embedded store: one SQLite file in WAL mode that any
// number of goroutines and processes of one machine share. It implements
// rotate.Store, rotate.Settings and rotate.Handouts.
//
// Every commit is synced before it is acknowledged (synchronous=FULL); changes
// that wait side by side share one. The record is readable in the file; secrets and settings are sealed, bound to
// the user and key they belong to. Network file systems do not lock as WAL
// needs; the file must be on a local disk.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Options says how a store is opened.
type Options struct {
	// Path of the file; it and its directory are made if missing.
	Path string
	// Key finds the sealer. Nil: secrets and settings can be neither read nor
	// written (seal.ErrKeyMissing), everything else works.
	Key seal.Source
	// LockWait bounds the wait for another process's transaction; default 10 s.
	LockWait time.Duration
}

// Store is an open store. Its methods are safe for concurrent use.
type Store struct {
	write  *sql.DB // one connection: writers of this process queue here, not in SQLite
	read   *sql.DB
	sealer seal.Sealer // nil: opened without a key
	stmt   statements
	path   string
	sealed content.Kept // secrets that are saved again as they are
	cache  *cache
	change *commits
	// What RecordHandout needs.
	recent   content.Recent
	renewals *renewals
}

var (
	_ rotate.Store    = (*Store)(nil)
	_ rotate.Settings = (*Store)(nil)
	_ rotate.Handouts = (*Store)(nil)
)

type statements struct {
	load, list, changes, due, version, next *sql.Stmt
	save, remove                            *sql.Stmt
	acquire, release                        *sql.Stmt
	setting, settingVersion, saveSetting    *sql.Stmt
	deleteSetting, settingNames             *sql.Stmt
	handout, holders, whoHas, probe, latest *sql.Stmt
	holderAfter, pruneHandouts              *sql.Stmt
}

// Open opens the store, making or migrating it if need be. The errors that
// can be decided on are this package's and package seal's sentinels; none of
// them has changed the file. The first use by several processes at once is
// sorted out here.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.LockWait <= 0 {
		o.LockWait = 10 * time.Second
	}
	wait := time.NewTimer(o.LockWait)
	defer wait.Stop()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		s, err := open(ctx, o)
		// Switching to WAL asks for an exclusive lock without SQLite's busy
		// handler, so that the first opening may lose against another one.
		if !errors.Is(err, ErrLocked) {
			return s, err
		}
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil, ctx.Err()
		case <-wait.C:
			next.Stop()
			return nil, err
		case <-next.C:
		}
	}
}

func open(ctx context.Context, o Options) (_ *Store, err error) {
	if err := prepareFile(o.Path); err != nil {
		return nil, explain(ctx, "opening the store", err)
	}
	s := &Store{path: o.Path}
	s.change = newCommits(s.transact)
	s.renewals = newRenewals(s.saveHandouts)
	defer func() {
		if err != nil {
			_ = s.Close() // the first error matters
		}
	}()
	if s.write, err = sql.Open("sqlite", dsn(o, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	// What a reader has of the file is old with the next commit: a few pages do.
	if s.read, err = sql.Open("sqlite", dsn(o, "_pragma=query_only(1)&_pragma=cache_size(-256)")); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	readers := 1 + max(4, 2*runtime.GOMAXPROCS(0)) // one is the cache's
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.inspect(ctx); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, o.Key); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, explain(ctx, "preparing the store", err)
	}
	if s.cache, err = openCache(ctx, s.read); err != nil {
		return nil, explain(ctx, "preparing the store", err)
	}
	return s, nil
}

// Close releases the file. No method may be called after or during it.
func (s *Store) Close() error {
	s.renewals.close()
	if s.cache != nil {
		s.cache.close()
	}
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} { // the writer last: it checkpoints
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Ping reports whether the store can be read, for health checks.
func (s *Store) Ping(ctx context.Context) error {
	var v int64
	return explain(ctx, "reading the store", s.stmt.probe.QueryRowContext(ctx).Scan(&v))
}

// begin starts a transaction that holds the write lock.
func (s *Store) begin(ctx context.Context) (*sql.Tx, error) {
	return s.write.BeginTx(ctx, nil)
}

// nextVersion gives out a version that the store has never used, and checks
// that the store's content is still sealed with this process's key.
func (s *Store) nextVersion(ctx context.Context, tx *sql.Tx) (int64, error) {
	var v int64
	err := tx.StmtContext(ctx, s.stmt.next).QueryRowContext(ctx, s.sealer.KeyID()).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("the store's key was changed by another process: %w", seal.ErrWrongKey)
	}
	return v, err
}
