package dynamodb

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

const (
	auditBatch = 90               // events in one transaction, which DynamoDB bounds at 100 items
	auditWait  = 10 * time.Second // for other processes that append to the same chain
	auditPause = 50 * time.Millisecond
)

// Audit is a hash chain of events in the store's table, with the lines and
// rules of package audit: an item for each line, and one that names the end
// of the chain, moved in the same transaction. The end is also sealed, so that
// whoever can write to the table but has not the key cannot forge it. It is
// safe for concurrent use by several goroutines and processes.
type Audit struct {
	API    API
	Table  string
	Sealer seal.Sealer
	// Chain names the chain, for processes that should not wait for each
	// other, such as the rotator and the API. Default "main".
	Chain string
	// Keep is how long lines are kept. Zero: for ever.
	Keep time.Duration
	// Now is the clock of the log's own events. Default time.Now.
	Now func() time.Time

	mu      sync.Mutex
	joining *eventBatch // collects events until its turn comes
	turn    chan struct{}
}

var _ rotate.Audit = (*Audit)(nil)

// eventBatch is what one transaction takes to the table.
type eventBatch struct {
	events []rotate.Event
	taken  bool
	done   chan struct{} // closed when err is set
	err    error
}

// Append implements [rotate.Audit]. Events that arrive while another
// transaction is under way share the next one. If ctx ends first, the event
// may still be recorded.
func (a *Audit) Append(ctx context.Context, e rotate.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	if a.turn == nil {
		a.turn = make(chan struct{}, 1)
	}
	if a.joining == nil || len(a.joining.events) >= auditBatch {
		a.joining = &eventBatch{done: make(chan struct{})}
	}
	b := a.joining
	b.events = append(b.events, e)
	a.mu.Unlock()
	select {
	case <-b.done:
	case a.turn <- struct{}{}:
		a.commit(ctx, b)
		<-a.turn
	case <-ctx.Done():
		return ctx.Err()
	}
	return explain("recording "+e.Action, a.Table, b.err)
}

// commit writes the batch unless somebody else has done so. The turn is held.
func (a *Audit) commit(ctx context.Context, b *eventBatch) {
	a.mu.Lock()
	taken := b.taken
	b.taken = true
	if a.joining == b {
		a.joining = nil
	}
	a.mu.Unlock()
	if taken {
		<-b.done
		return
	}
	defer close(b.done)
	// The leader's context must not fail the others of its batch.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWait)
	defer cancel()
	for damaged := false; ; damaged = errors.Is(b.err, errDamaged) {
		b.err = a.write(ctx, b.events, damaged)
		if !errors.Is(b.err, rotate.ErrConflict) && !errors.Is(b.err, errDamaged) || !pause(ctx) {
			return
		}
	}
}

// pause waits a random while, so that processes that collide part.
func pause(ctx context.Context) bool {
	d := auditPause
	if n, err := rand.Int(rand.Reader, big.NewInt(int64(auditPause))); err == nil {
		d = time.Duration(n.Int64())
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// errDamaged: there are lines after what is named as the end of the chain. As
// both move in one transaction, somebody has changed the table.
var errDamaged = errors.New("the audit log has lines after its named end")

// write appends the events where the chain ends now, or, if it is known to be
// damaged, after its last line. ErrConflict: another process was faster.
func (a *Audit) write(ctx context.Context, events []rotate.Event, damaged bool) error {
	tail, gap, err := a.tail(ctx)
	if err != nil {
		return err
	}
	end := tail
	if damaged {
		if end, err = a.lastLine(ctx); err != nil {
			return err
		}
		gap = fmt.Sprintf("the log was said to end at number %d, it has lines up to %d", tail.Seq, end.Seq)
	}
	if gap != "" {
		events = append([]rotate.Event{{Time: a.now(), Action: audit.ActionGap, Reason: gap, Actor: "audit"}}, events...)
	}
	var writes []types.TransactWriteItem
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		var line []byte
		line, end = audit.Frame(nil, end, raw)
		it := key(kindLine+a.chain(), digits(int64(end.Seq)))
		it[attrLine] = text(string(line))
		if a.Keep > 0 {
			it[attrExpires] = keepUntil(e.Time, a.Keep, 0)
		}
		writes = append(writes, types.TransactWriteItem{Put: &types.Put{
			TableName: &a.Table, Item: it, ConditionExpression: aws.String("attribute_not_exists(#pk)"),
			ExpressionAttributeNames: names{"#pk": attrPK},
		}})
	}
	move, err := a.move(ctx, tail, end)
	if err != nil {
		return err
	}
	_, err = a.API.TransactWriteItems(ctx, &ddb.TransactWriteItemsInput{TransactItems: append([]types.TransactWriteItem{move}, writes...)})
	return outrun(err)
}

// move names the new end of the chain, if it still ends where it did.
func (a *Audit) move(ctx context.Context, from, to audit.Tail) (types.TransactWriteItem, error) {
	raw, err := json.Marshal(to)
	if err != nil {
		return types.TransactWriteItem{}, err
	}
	if a.Sealer == nil {
		return types.TransactWriteItem{}, seal.ErrKeyMissing
	}
	sealed, err := a.Sealer.Seal(ctx, raw, a.aad())
	if err != nil {
		return types.TransactWriteItem{}, fmt.Errorf("sealing the end of the audit log: %w", err)
	}
	it := key(kindTail, a.chain())
	it[attrSeq], it[attrHash], it[attrSealed] = number(int64(to.Seq)), text(to.Hash), blob(sealed)
	c := condition{expression: "attribute_not_exists(#pk)", names: names{"#pk": attrPK}}
	if from.Seq > 0 {
		c = condition{
			expression: "#seq = :seq AND #hash = :hash",
			names:      names{"#seq": attrSeq, "#hash": attrHash},
			values:     item{":seq": number(int64(from.Seq)), ":hash": text(from.Hash)},
		}
	}
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &a.Table, Item: it, ConditionExpression: &c.expression,
		ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	}}, nil
}

// outrun says why a transaction was cancelled: ErrConflict if the end of the
// chain is another by now, errDamaged if only a line stands in the way.
func outrun(err error) error {
	c, ok := errors.AsType[*types.TransactionCanceledException](err)
	if !ok {
		return err
	}
	for i, r := range c.CancellationReasons {
		switch code := aws.ToString(r.Code); {
		case code == "TransactionConflict", code == "ConditionalCheckFailed" && i == 0:
			return fmt.Errorf("%w: %w", rotate.ErrConflict, err)
		case code == "ConditionalCheckFailed":
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return err
}

// lastLine returns the end of the chain as its lines tell it.
func (a *Audit) lastLine(ctx context.Context) (end audit.Tail, err error) {
	s := Store{API: a.API, Table: a.Table}
	in := ofKind(kindLine + a.chain())
	in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(1)
	err = s.query(ctx, in, func(it item) (bool, error) {
		end.Seq, err = strconv.ParseUint(it.text(attrSK), 10, 64)
		if err != nil {
			return false, fmt.Errorf("line %q: %w", it.text(attrSK), content.ErrCorrupt)
		}
		// An unreadable line has no hash to go on from; the break stays visible.
		if l, err := audit.ParseLine(bytes.TrimSuffix([]byte(it.text(attrLine)), []byte("\n"))); err == nil {
			end.Hash = l.Hash
		}
		return false, nil
	})
	return end, err
}

// tail reads where the chain ends. gap says what is wrong with it, or "":
// the chain then goes on, and verification keeps failing at that place.
func (a *Audit) tail(ctx context.Context) (t audit.Tail, gap string, err error) {
	s := Store{API: a.API, Table: a.Table}
	it, err := s.get(ctx, kindTail, a.chain())
	if err != nil || it == nil {
		return audit.Tail{}, "", err
	}
	t = audit.Tail{Seq: uint64(it.number(attrSeq)), Hash: it.text(attrHash)}
	if a.Sealer == nil {
		return t, "", seal.ErrKeyMissing
	}
	raw, err := a.Sealer.Open(ctx, it.bytes(attrSealed), a.aad())
	var sealed audit.Tail
	switch {
	case errors.Is(err, seal.ErrWrongKey), errors.Is(err, seal.ErrMalformed):
		return t, "the sealed end of the log does not open", nil
	case err != nil:
		return t, "", fmt.Errorf("opening the end of the audit log: %w", err)
	case json.Unmarshal(raw, &sealed) != nil || sealed != t:
		return t, "the sealed end of the log is another", nil
	}
	return t, "", nil
}

// Verify checks the whole chain against its sealed end, and returns that.
// Lines that are older than Keep may be gone from its beginning.
// audit.ErrBroken.
func (a *Audit) Verify(ctx context.Context) (audit.Tail, error) {
	end, gap, err := a.tail(ctx)
	if err != nil {
		return audit.Tail{}, explain("verifying the audit log", a.Table, err)
	}
	if gap != "" {
		return audit.Tail{}, fmt.Errorf("%s: %w", gap, audit.ErrBroken)
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
	t, err := audit.VerifyBetween(r, from, end)
	_ = r.Close() // ends the export
	wg.Wait()
	return t, err
}

// beginning returns what the oldest line that is left follows.
func (a *Audit) beginning(ctx context.Context) (from audit.Tail, err error) {
	err = a.lines(ctx, func(line []byte) (bool, error) {
		l, err := audit.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
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
	return a.lines(ctx, func(line []byte) (bool, error) {
		_, err := w.Write(line)
		return true, err
	})
}

func (a *Audit) lines(ctx context.Context, each func([]byte) (bool, error)) error {
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

func (a *Audit) aad() []byte { return []byte("audit=" + a.chain()) }

func (a *Audit) chain() string {
	if a.Chain == "" {
		return "main"
	}
	return a.Chain
}

func (a *Audit) now() time.Time {
	if a.Now != nil {
		return a.Now().UTC()
	}
	return time.Now().UTC()
}
