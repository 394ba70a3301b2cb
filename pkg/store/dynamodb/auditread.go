package dynamodb

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/keyrot/keyrot/pkg/audit"
)

// Verify checks the whole chain, from its first line to its sealed end and to
// the blocks that may follow that, and returns where it ends. audit.ErrBroken.
func (a *Audit) Verify(ctx context.Context) (audit.Tail, error) {
	at, err := a.named(ctx, end{})
	if err != nil {
		return audit.Tail{}, explain("verifying the audit log", a.Table, err)
	}
	if at.gap != "" {
		return audit.Tail{}, fmt.Errorf("%s: %w", at.gap, audit.ErrBroken)
	}
	lines := a.Lines(ctx)
	t, err := audit.VerifyLog(lines, at.Tail)
	_ = lines.Close() // only read
	if err != nil || t.Seq <= at.Seq {
		return t, err
	}
	// What follows the end counts as far as it is genuine.
	at, err = a.named(ctx, end{})
	if err == nil {
		at, _, err = a.walk(ctx, at)
	}
	if err != nil {
		return t, explain("verifying the audit log", a.Table, err)
	}
	if at.after.Seq < t.Seq {
		return t, fmt.Errorf("line %d: was not written by keyrot: %w", at.after.Seq+1, audit.ErrBroken)
	}
	return t, nil
}

// Lines reads the chain's lines in order, as package audit's files hold them. It
// is to be closed.
func (a *Audit) Lines(ctx context.Context) io.ReadCloser {
	return piped(func(w io.Writer) error { return a.Export(ctx, w) })
}

// piped reads what f writes. Closing it ends and awaits f, whose writes then fail.
func piped(f func(io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	p := &pipe{PipeReader: r}
	p.writer.Go(func() { _ = w.CloseWithError(f(w)) })
	return p
}

type pipe struct {
	*io.PipeReader
	writer sync.WaitGroup
}

// Close implements io.Closer.
func (p *pipe) Close() error {
	err := p.PipeReader.Close()
	p.writer.Wait()
	return err
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
