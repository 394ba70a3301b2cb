package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/seal"
)

// applicationID marks the file as keyrot's ("krot").
const applicationID = 0x6b726f74

// migrations[i] takes the schema from version i to i+1. A released one is
// never changed. Times are Unix nanoseconds, 0 for the zero time.
var migrations = []string{`
CREATE TABLE head (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	version INTEGER NOT NULL, -- the last compare-and-swap version given out
	kek     TEXT NOT NULL     -- id of the key that the content is sealed with
) STRICT;
INSERT INTO head VALUES (1, 0, '');
CREATE TABLE entries (
	user    TEXT PRIMARY KEY,
	version INTEGER NOT NULL,
	due     INTEGER NOT NULL,
	record  TEXT NOT NULL,    -- plan.Record as JSON
	secrets TEXT NOT NULL     -- JSON object: access key id to sealed secret
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_due ON entries (due, user);
CREATE TABLE leases (
	user     TEXT PRIMARY KEY,
	owner    TEXT NOT NULL,
	ends     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE settings (
	name    TEXT PRIMARY KEY,
	version INTEGER NOT NULL,
	sealed  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE handouts (
	user   TEXT NOT NULL,
	caller TEXT NOT NULL,
	key    TEXT NOT NULL,
	addr   TEXT NOT NULL,
	first  INTEGER NOT NULL,
	last   INTEGER NOT NULL,
	PRIMARY KEY (user, caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX handouts_key ON handouts (key);
`, `
-- Rows of 1.5 kB spill to a page of their own in a table without row ids, so
-- that a user took 5 kB; in this one they share pages.
ALTER TABLE head ADD COLUMN removed INTEGER NOT NULL DEFAULT 0; -- the version at the latest removal of an entry
CREATE TABLE entries2 (
	user    TEXT NOT NULL UNIQUE,
	version INTEGER NOT NULL,
	due     INTEGER NOT NULL,
	creates INTEGER NOT NULL, -- a new key is all that is due
	record  TEXT NOT NULL,    -- plan.Record as JSON
	secrets TEXT NOT NULL     -- JSON object: access key id to sealed secret
) STRICT;
INSERT INTO entries2 SELECT user, version, due, 0, record, secrets FROM entries ORDER BY user;
DROP TABLE entries;
ALTER TABLE entries2 RENAME TO entries;
CREATE INDEX entries_due ON entries (creates, due, user);
CREATE INDEX entries_version ON entries (version);
-- A trigger, so that a process of an earlier version tells of it, too.
CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN
	UPDATE head SET version = version + 1, removed = version + 1;
END;
`}

// prepareFile makes the file with mode 0600 if it is missing (SQLite would
// use 0644, and gives the -wal and -shm files the mode of the main one), and
// refuses one that is open to others.
// A file that exists is not opened here: closing it would drop the POSIX locks
// that another Store of this process holds on it.
func prepareFile(path string) error {
	if path == "" {
		return errors.New("no path given")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := disk.Create(path, nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o200 == 0 {
		// SQLite would open it for reading, and leave a -shm file behind that
		// still could not be written when the mode was put right.
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrPermission}
	}
	if name := network(path); name != "" {
		return hint.Wrap(fmt.Errorf("%s is on %s, which does not lock as SQLite needs it", path, name),
			"keep the store on a local disk, or use DynamoDB")
	}
	if err := disk.Private(path, info); err != nil {
		return err
	}
	return disk.Alone(path) // the -wal, -shm and -journal files
}

// dsn returns the URI of the file with the settings of each connection.
func dsn(o Options, extra string) string {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		path = o.Path // relative to a directory that is gone: opening will say so
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: strings.Join([]string{
		fmt.Sprintf("_pragma=busy_timeout(%d)", max(1, o.LockWait.Milliseconds())),
		"_pragma=synchronous(FULL)",
		"_pragma=trusted_schema(0)",
		"_pragma=cell_size_check(1)",
		extra,
	}, "&")}
	return u.String()
}

// inspect refuses what is not a sound keyrot store of a known version. It
// reads only.
func (s *Store) inspect(ctx context.Context) error {
	version, err := schemaVersion(ctx, s.write)
	if err != nil {
		return explain(ctx, "opening the store "+s.path, err)
	}
	if version > len(migrations) {
		return refuse(ErrNewer, "opening the store %s: schema version %d, this keyrot knows %d: %w",
			s.path, version, len(migrations), ErrNewer)
	}
	var id, objects int64
	err = s.write.QueryRowContext(ctx,
		`SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)`).Scan(&id, &objects)
	if err != nil {
		return explain(ctx, "opening the store "+s.path, err)
	}
	if id != applicationID && (id != 0 || version != 0 || objects != 0) {
		return refuse(ErrCorrupt, "opening the store %s: it is some other program's database: %w", s.path, ErrCorrupt)
	}
	var verdict string
	if err := s.write.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return explain(ctx, "checking the store "+s.path, err)
	}
	if verdict != "ok" {
		return refuse(ErrCorrupt, "checking the store %s: %s: %w", s.path, verdict, ErrCorrupt)
	}
	return nil
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func schemaVersion(ctx context.Context, q queryer) (version int, err error) {
	err = q.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version)
	return version, err
}

// migrate brings the schema up to date and settles the key, in one
// transaction, so that concurrent first starts agree.
func (s *Store) migrate(ctx context.Context, key seal.Source) error {
	var mode string
	if err := s.write.QueryRowContext(ctx, `PRAGMA journal_mode=WAL`).Scan(&mode); err != nil {
		return explain(ctx, "opening the store "+s.path, err)
	}
	if mode != "wal" {
		return fmt.Errorf("opening the store %s: journal mode is %q, want \"wal\"", s.path, mode)
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return explain(ctx, "opening the store "+s.path, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if err := applyMigrations(ctx, tx); err != nil {
		return explain(ctx, "migrating the store "+s.path, err)
	}
	if key != nil {
		if err := s.settleKey(ctx, tx, key); err != nil {
			return fmt.Errorf("opening the store %s: %w", s.path, err)
		}
	}
	return explain(ctx, "opening the store "+s.path, tx.Commit())
}

func applyMigrations(ctx context.Context, tx *sql.Tx) error {
	version, err := schemaVersion(ctx, tx)
	if err != nil || version == len(migrations) {
		return err
	}
	if version > len(migrations) {
		return ErrNewer // migrated between inspect and here
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(
		`PRAGMA application_id = %d; PRAGMA user_version = %d`, applicationID, len(migrations)))
	return err
}

// settleKey gets the sealer and records its id. An id that is recorded while
// something is sealed is never replaced.
func (s *Store) settleKey(ctx context.Context, tx *sql.Tx, key seal.Source) error {
	var recorded string
	var used bool
	err := tx.QueryRowContext(ctx, `SELECT kek,
		EXISTS (SELECT 1 FROM entries WHERE secrets <> '{}') OR EXISTS (SELECT 1 FROM settings)
		FROM head`).Scan(&recorded, &used)
	if err != nil {
		return explain(ctx, "reading the key id", err)
	}
	known := ""
	if used {
		known = recorded
	}
	s.sealer, err = key(ctx, known)
	if err != nil {
		return err
	}
	if id := s.sealer.KeyID(); used && id != recorded {
		return fmt.Errorf("content is sealed with key %s, this is key %s: %w", recorded, id, seal.ErrWrongKey)
	} else if id != recorded {
		_, err = tx.ExecContext(ctx, `UPDATE head SET kek = ?`, id)
	}
	return explain(ctx, "recording the key id", err)
}
