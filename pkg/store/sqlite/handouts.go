package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// RecordHandout implements [rotate.Handouts]. A change is written and synced
// before the answer. A caller that fetches the same key again and again costs
// one write in 5 to 10 s, for which nobody waits: see renewals. Another
// process's hand-out to the same caller in between is not seen, so that after a
// promotion the order of two processes' records is right to within these 10 s.
func (s *Store) RecordHandout(ctx context.Context, caller, user, keyID, addr string, at time.Time) error {
	if s.recent.Repeats(caller, user, keyID, addr, at) {
		return nil
	}
	row := []any{user, caller, keyID, addr, content.Nanos(at)}
	if !s.inIndex(ctx, caller, user, keyID, addr, at) || !s.renewals.add(ctx, held{user, caller, keyID}, row) {
		if err := s.saveHandouts(ctx, [][]any{row}); err != nil {
			return explain(ctx, "recording a hand-out", err)
		}
	}
	s.recent.Note(caller, user, keyID, addr, at.Add(-early(user)))
	return nil
}

// inIndex reports whether the key, to that address, is what the caller was given
// last, and not after at.
func (s *Store) inIndex(ctx context.Context, caller, user, keyID, addr string, at time.Time) bool {
	var key, to string
	var last int64
	err := s.stmt.latest.QueryRowContext(ctx, user, caller).Scan(&key, &to, &last)
	return err == nil && key == keyID && to == addr && last <= content.Nanos(at)
}

// saveHandouts saves hand-outs in one transaction.
func (s *Store) saveHandouts(ctx context.Context, rows [][]any) error {
	return s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, s.stmt.handout)
		for _, row := range rows {
			if _, err := stmt.ExecContext(ctx, row...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Holders implements [rotate.Handouts].
func (s *Store) Holders(ctx context.Context, user, keyID string) ([]string, error) {
	out, err := queryStrings(ctx, s.stmt.holders, user, keyID)
	return out, explain(ctx, "reading who holds a key", err)
}

// WhoHas implements [rotate.Handouts].
func (s *Store) WhoHas(ctx context.Context, keyID string) ([]rotate.Handout, error) {
	_ = s.renewals.flush(ctx) // if it fails, what follows is a second older
	var out []rotate.Handout
	err := query(ctx, s.stmt.whoHas, func(rows *sql.Rows) error {
		h := rotate.Handout{Key: keyID}
		var first, last int64
		if err := rows.Scan(&h.Caller, &h.User, &h.Addr, &first, &last); err != nil {
			return err
		}
		h.First, h.Last = content.Time(first), content.Time(last)
		out = append(out, h)
		return nil
	}, keyID)
	if err != nil {
		return nil, explain(ctx, "reading who was given a key", err)
	}
	return out, nil
}

// PruneHandouts drops what was last handed out before t, each caller's latest
// hand-out of a user excepted, and returns how many were dropped. The audit
// log still has them.
//
// Each user is a transaction, so that nobody waits for long.
func (s *Store) PruneHandouts(ctx context.Context, t time.Time) (int64, error) {
	total, user := int64(0), sql.NullString{}
	for {
		err := s.stmt.holderAfter.QueryRowContext(ctx, user.String).Scan(&user)
		if err != nil || !user.Valid {
			return total, explain(ctx, "pruning hand-outs", err)
		}
		r, err := s.stmt.pruneHandouts.ExecContext(ctx, user.String, content.Nanos(t))
		if err != nil {
			return total, explain(ctx, "pruning hand-outs", err)
		}
		n, err := r.RowsAffected()
		if err != nil {
			return total, explain(ctx, "pruning hand-outs", err)
		}
		total += n
	}
}
