package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Load implements [rotate.Store].
func (s *Store) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if err := s.cache.refresh(ctx); err == nil {
		if e, ok := s.cache.get(user); ok {
			return e, nil
		}
	}
	e, err := s.load(ctx, user) // its error says more than the cache's
	if err != nil {
		s.cache.drop(user)
		return rotate.Entry{}, explain(ctx, fmt.Sprintf("loading %q", user), err)
	}
	return e, nil
}

func (s *Store) load(ctx context.Context, user string) (rotate.Entry, error) {
	var e rotate.Entry
	if s.sealer == nil {
		return e, seal.ErrKeyMissing
	}
	var due, version int64
	var record, secrets sql.RawBytes
	rows, err := s.stmt.load.QueryContext(ctx, user)
	if err != nil {
		return e, err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return e, err
		}
		return e, rotate.ErrNotFound
	}
	if err := rows.Scan(&version, &e.Version, &due, &e.Creates, &record, &secrets); err != nil {
		return e, err
	}
	bytes := len(record) + len(secrets)
	e.Due = content.Time(due)
	if e.Record, err = content.DecodeRecord(record, user); err != nil {
		return e, err
	}
	if e.Secrets, err = content.OpenSecrets(ctx, s.sealer, e.Record, secrets); err != nil {
		return e, err
	}
	if err := rows.Close(); err != nil {
		return e, err
	}
	s.cache.put(e, version, bytes)
	return e, nil
}

// Save implements [rotate.Store].
func (s *Store) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	v, err := s.save(ctx, e)
	if errors.Is(err, rotate.ErrConflict) {
		s.cache.drop(e.Record.User) // whatever made it old, the next attempt must not begin with it
	}
	if err != nil {
		return 0, explain(ctx, fmt.Sprintf("saving %q", e.Record.User), err)
	}
	return v, nil
}

func (s *Store) save(ctx context.Context, e rotate.Entry) (int64, error) {
	user := e.Record.User
	if user == "" {
		return 0, errors.New("record without a user")
	}
	if s.sealer == nil {
		return 0, seal.ErrKeyMissing
	}
	record, err := json.Marshal(e.Record)
	if err != nil {
		return 0, err
	}
	secrets, err := content.SealEach(ctx, s.sealer, &s.sealed, e)
	if err != nil {
		return 0, err
	}
	var version int64
	err = s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if version, err = s.nextVersion(ctx, tx); err != nil {
			return err
		}
		r, err := tx.StmtContext(ctx, s.stmt.save).ExecContext(ctx, user, version, content.Nanos(e.Due), e.Creates,
			string(record), string(secrets), e.Version)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 { // then a version was given out, and that is all
			return cmp.Or(err, rotate.ErrConflict)
		}
		if e.Leave != "" {
			_, err = tx.StmtContext(ctx, s.stmt.release).ExecContext(ctx, user, e.Leave)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// storedVersion returns the version of the row, 0 if there is none.
func storedVersion(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, name string) (v int64, err error) {
	err = tx.StmtContext(ctx, stmt).QueryRowContext(ctx, name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return v, err
}

// Remove implements [rotate.Store].
func (s *Store) Remove(ctx context.Context, user string, version int64) error {
	return explain(ctx, fmt.Sprintf("removing %q", user), s.remove(ctx, user, version))
}

func (s *Store) remove(ctx context.Context, user string, version int64) error {
	return s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
		switch stored, err := storedVersion(ctx, tx, s.stmt.version, user); {
		case err != nil:
			return err
		case stored == 0:
			return nil
		case stored != version:
			return rotate.ErrConflict
		}
		_, err := tx.StmtContext(ctx, s.stmt.remove).ExecContext(ctx, user)
		return err
	})
}

// List implements [rotate.Store]. It does not need the key.
func (s *Store) List(ctx context.Context) ([]rotate.Entry, error) {
	var out []rotate.Entry
	err := query(ctx, s.stmt.list, func(rows *sql.Rows) error {
		var user string
		var version, due int64
		var creates bool
		var record sql.RawBytes
		if err := rows.Scan(&user, &version, &due, &creates, &record); err != nil {
			return err
		}
		out = append(out, decode(user, version, due, creates, record))
		return nil
	})
	if err != nil {
		return nil, explain(ctx, "listing the store", err)
	}
	return out, nil
}

// Changes implements [rotate.Store]. It does not need the key.
func (s *Store) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	for {
		c, removed, err := s.changes(ctx, mark)
		if err != nil {
			return rotate.Changes{}, explain(ctx, "reading what has changed", err)
		}
		c.Whole = mark == 0
		// Versions that are given out grow, but for a store that was put back.
		if c.Whole || removed <= mark && mark <= c.Mark {
			return c, nil
		}
		mark = 0
	}
}

func (s *Store) changes(ctx context.Context, mark int64) (c rotate.Changes, removed int64, err error) {
	err = query(ctx, s.stmt.changes, func(rows *sql.Rows) error {
		var version, due sql.NullInt64
		var user sql.NullString
		var creates sql.NullBool
		var record sql.RawBytes
		if err := rows.Scan(&c.Mark, &removed, &user, &version, &due, &creates, &record); err != nil || !user.Valid {
			return err
		}
		c.Entries = append(c.Entries, decode(user.String, version.Int64, due.Int64, creates.Bool, record))
		return nil
	}, mark)
	return c, removed, err
}

// decode makes the entry of a row, without its secrets.
func decode(user string, version, due int64, creates bool, record []byte) rotate.Entry {
	r, err := content.DecodeRecord(record, user)
	if err != nil {
		return rotate.Unreadable(user, version, content.Time(due), err)
	}
	return rotate.Entry{Record: r, Version: version, Due: content.Time(due), Creates: creates}
}

// Due implements [rotate.Store]. It does not need the key.
func (s *Store) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	out, err := queryStrings(ctx, s.stmt.due, creates, content.Nanos(t), max(0, limit))
	return out, explain(ctx, "reading what is due", err)
}

// Acquire implements [rotate.Store].
func (s *Store) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	v, err := s.acquire(ctx, user, owner, now, ttl)
	return v, explain(ctx, fmt.Sprintf("leasing %q", user), err)
}

func (s *Store) acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (version int64, err error) {
	err = s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r, err := tx.StmtContext(ctx, s.stmt.acquire).ExecContext(ctx, user, owner, content.Nanos(now.Add(ttl)), content.Nanos(now))
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return cmp.Or(err, rotate.ErrLeased)
		}
		version, err = storedVersion(ctx, tx, s.stmt.version, user)
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// Release implements [rotate.Store].
func (s *Store) Release(ctx context.Context, user, owner string) error {
	err := s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.stmt.release).ExecContext(ctx, user, owner)
		return err
	})
	return explain(ctx, fmt.Sprintf("releasing %q", user), err)
}

// query calls each for every row.
func query(ctx context.Context, stmt *sql.Stmt, each func(*sql.Rows) error, args ...any) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func queryStrings(ctx context.Context, stmt *sql.Stmt, args ...any) (out []string, err error) {
	err = query(ctx, stmt, func(rows *sql.Rows) error {
		var v string
		if err := rows.Scan(&v); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	}, args...)
	if err != nil {
		return nil, err
	}
	return out, nil
}
