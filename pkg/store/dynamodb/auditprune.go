package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// errEnough ends the reading of blocks.
var errEnough = errors.New("enough")

// Prune exports the blocks of which all lines were recorded before t to a file
// in dir and deletes them from the table, the first one first, as
// [audit.Log.Prune] does with lines of a file: the same line says so, and a crash
// at any point leaves a chain that is proven. The zero Segment says that there
// were none. It needs dynamodb:DeleteItem.
func (a *Audit) Prune(ctx context.Context, before time.Time, dir, actor string) (audit.Segment, error) {
	if _, err := a.Verify(ctx); err != nil {
		return audit.Segment{}, fmt.Errorf("nothing is pruned: %w", err)
	}
	var blocks []string // the keys of those that are exported
	lines := piped(func(w io.Writer) error {
		err := a.oldBlocks(ctx, before, func(key string, lines []byte) error {
			blocks = append(blocks, key)
			_, err := w.Write(lines)
			return err
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	s, err := audit.Export(lines, dir, "audit-"+a.chain(), func(audit.Line) bool { return true })
	_ = lines.Close() // ends the reading
	if err != nil || s.Lines == 0 {
		return audit.Segment{}, err
	}
	if err := a.Append(ctx, rotate.Event{Time: a.now(), Action: audit.ActionPrune, Reason: s.Reason(), Actor: actor}); err != nil {
		return audit.Segment{}, err
	}
	for _, sk := range blocks {
		_, err := a.API.DeleteItem(ctx, &ddb.DeleteItemInput{TableName: &a.Table, Key: key(kindLine+a.chain(), sk)})
		if err != nil {
			return audit.Segment{}, explain("pruning the audit log", a.Table, err)
		}
	}
	return s, nil
}

// oldBlocks calls each for the blocks at the beginning of which all lines were
// recorded before t.
func (a *Audit) oldBlocks(ctx context.Context, t time.Time, each func(key string, lines []byte) error) error {
	s, old := Store{API: a.API, Table: a.Table}, audit.Before(t)
	err := s.query(ctx, ofKind(kindLine+a.chain()), func(it item) (bool, error) {
		lines := []byte(it.text(attrLine))
		for l, err := range audit.Lines(bytes.NewReader(lines)) {
			if err != nil {
				return false, err
			}
			if !old(l) {
				return false, errEnough
			}
		}
		if _, err := strconv.ParseUint(it.text(attrSK), 10, 64); err != nil {
			return false, fmt.Errorf("line %q: %w", it.text(attrSK), audit.ErrBroken)
		}
		return true, each(it.text(attrSK), lines)
	})
	return err
}
