package dynamodb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/keyrot/keyrot/pkg/audit"
)

// Verify checks the whole chain against its sealed end, and returns that.
// Lines that are older than Keep may be gone from its beginning.
// audit.ErrBroken.
func (a *Audit) Verify(ctx context.Context) (audit.Tail, error) {
	at, err := a.named(ctx, end{})
	if err != nil {
		return audit.Tail{}, explain("verifying the audit log", a.Table, err)
	}
	if at.gap != "" {
		return audit.Tail{}, fmt.Errorf("%s: %w", at.gap, audit.ErrBroken)
	}
	var from audit.Tail
	if a.Keep > 0 {
		if from, err = a.beginning(ctx); err != nil {
			return audit.Tail{}, explain("verifying the audit log", a.Table, err)
		}
	}
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.CloseWithError(a.Export(ctx, w)) })
	t, err := audit.VerifyBetween(r, from, at.Tail)
	_ = r.Close() // ends the export
	wg.Wait()
	return t, err
}

// beginning returns what the oldest line that is left follows.
func (a *Audit) beginning(ctx context.Context) (from audit.Tail, err error) {
	err = a.blocks(ctx, func(lines []byte) (bool, error) {
		line, _, _ := bytes.Cut(lines, []byte("\n"))
		l, err := audit.ParseLine(line)
		if err == nil && l.Seq > 1 {
			from = audit.Tail{Seq: l.Seq - 1, Hash: l.Prev}
		}
		return false, err
	})
	return from, err
}

// Export writes the chain's lines in order, as package audit's files hold
// them.
func (a *Audit) Export(ctx context.Context, w io.Writer) error {
	return a.blocks(ctx, func(lines []byte) (bool, error) {
		_, err := w.Write(lines)
		return true, err
	})
}

func (a *Audit) blocks(ctx context.Context, each func([]byte) (bool, error)) error {
	s := Store{API: a.API, Table: a.Table}
	return s.query(ctx, ofKind(kindLine+a.chain()), func(it item) (bool, error) {
		return each([]byte(it.text(attrLine)))
	})
}

// Chains lists the chains that the table holds.
func (s *Store) Chains(ctx context.Context) ([]string, error) {
	var out []string
	err := s.query(ctx, ofKind(kindTail, attrPK, attrSK), func(it item) (bool, error) {
		out = append(out, it.text(attrSK))
		return true, nil
	})
	return out, explain("listing audit logs", s.Table, err)
}
