package sqlite

import (
	"context"
	"database/sql"
)

// prepare readies all statements, so that none is parsed while serving.
func (s *Store) prepare(ctx context.Context) error {
	q := &s.stmt
	for _, p := range []struct {
		to   **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&q.probe, s.read, `SELECT version FROM head`},
		// One statement, one snapshot: the entry, and which version was given out last.
		{&q.load, s.read, `SELECT h.version, e.version, e.due, e.creates, e.record, e.secrets FROM entries e, head h WHERE e.user = ?`},
		{&q.list, s.read, `SELECT user, version, due, creates, record FROM entries ORDER BY user`},
		// One statement, one snapshot: a row of the head, with each entry or none.
		{&q.changes, s.read, `SELECT h.version, h.removed, e.user, e.version, e.due, e.creates, e.record
			FROM head h LEFT JOIN entries e ON e.version > ?`},
		{&q.due, s.read, `SELECT user FROM entries WHERE creates = ? AND due <= ? ORDER BY due, user LIMIT ?`},
		{&q.version, s.write, `SELECT version FROM entries WHERE user = ?`},
		{&q.next, s.write, `UPDATE head SET version = version + 1 WHERE kek = ? RETURNING version`},
		// An entry that is there has a version other than 0, and one that is not
		// there is inserted at version 0 only.
		{&q.save, s.write, `INSERT INTO entries (user, version, due, creates, record, secrets)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE ?7 = 0 OR EXISTS (SELECT 1 FROM entries WHERE user = ?1)
			ON CONFLICT (user) DO UPDATE SET version = excluded.version, due = excluded.due, creates = excluded.creates,
			record = excluded.record, secrets = excluded.secrets WHERE version = ?7`},
		{&q.remove, s.write, `DELETE FROM entries WHERE user = ?`},
		{&q.acquire, s.write, `INSERT INTO leases (user, owner, ends) VALUES (?1, ?2, ?3)
			ON CONFLICT (user) DO UPDATE SET owner = excluded.owner, ends = excluded.ends
			WHERE owner = ?2 OR ends <= ?4`},
		{&q.release, s.write, `DELETE FROM leases WHERE user = ? AND owner = ?`},
		{&q.setting, s.read, `SELECT version, sealed FROM settings WHERE name = ?`},
		{&q.settingVersion, s.write, `SELECT version FROM settings WHERE name = ?`},
		{&q.saveSetting, s.write, `INSERT INTO settings (name, version, sealed) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET version = excluded.version, sealed = excluded.sealed`},
		{&q.deleteSetting, s.write, `DELETE FROM settings WHERE name = ?`},
		{&q.settingNames, s.read, `SELECT name FROM settings
			WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name`},
		{&q.handout, s.write, `INSERT INTO handouts (user, caller, key, addr, first, last)
			VALUES (?1, ?2, ?3, ?4, ?5, ?5)
			ON CONFLICT (user, caller, key) DO UPDATE SET addr = excluded.addr, last = excluded.last
			WHERE excluded.last >= last`},
		{&q.latest, s.read, `SELECT key, addr, last FROM handouts WHERE user = ? AND caller = ? ORDER BY last DESC LIMIT 1`},
		// With max(), SQLite takes the other columns from the row that has it.
		{&q.holders, s.read, `SELECT caller FROM
			(SELECT caller, key, max(last) FROM handouts WHERE user = ? GROUP BY caller)
			WHERE key = ? ORDER BY caller`},
		{&q.whoHas, s.read, `SELECT caller, user, addr, first, last FROM handouts
			WHERE key = ? ORDER BY last DESC, caller`},
		{&q.holderAfter, s.read, `SELECT min(user) FROM handouts WHERE user > ?`},
		{&q.pruneHandouts, s.write, `DELETE FROM handouts WHERE user = ?1 AND last < ?2 AND EXISTS
			(SELECT 1 FROM handouts h WHERE h.user = handouts.user
			 AND h.caller = handouts.caller AND h.last > handouts.last)`},
	} {
		stmt, err := p.db.PrepareContext(ctx, p.text)
		if err != nil {
			return err
		}
		*p.to = stmt
	}
	return nil
}
