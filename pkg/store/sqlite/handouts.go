package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// RecordHandout implements [rotate.Handouts]. A caller that fetches the same
// key again and again costs one write in 10 s; a change is written and synced
// before the answer. Another process's hand-out to the same caller in between
// is not seen, so that after a promotion the order of two processes' records
// is right to within these 10 s.
func (s *Store) RecordHandout(ctx context.Context, caller, user, keyID, addr string, at time.Time) error {
	if s.recent.Repeats(caller, user, keyID, addr, at) {
		return nil
	}
	if _, err := s.stmt.handout.ExecContext(ctx, user, caller, keyID, addr, content.Nanos(at)); err != nil {
		return explain(ctx, "recording a hand-out", err)
	}
	s.recent.Note(caller, user, keyID, addr, at)
	return nil
}

// Holders implements [rotate.Handouts].
func (s *Store) Holders(ctx context.Context, user, keyID string) ([]string, error) {
	out, err := queryStrings(ctx, s.stmt.holders, user, keyID)
	return out, explain(ctx, "reading who holds a key", err)
}

// WhoHas implements [rotate.Handouts].
func (s *Store) WhoHas(ctx context.Context, keyID string) ([]rotate.Handout, error) {
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
func (s *Store) PruneHandouts(ctx context.Context, t time.Time) (int64, error) {
	r, err := s.stmt.pruneHandouts.ExecContext(ctx, content.Nanos(t))
	if err != nil {
		return 0, explain(ctx, "pruning hand-outs", err)
	}
	return r.RowsAffected()
}
