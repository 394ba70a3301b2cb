package dynamodb

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
)

const (
	auditBatch = 90               // events in one block
	auditBytes = 200_000          // of them, in JSON: an item of DynamoDB holds 400 kB
	auditWait  = 10 * time.Second // for other processes that append to the same chain
	auditPause = 50 * time.Millisecond
)

// Audit is a hash chain of events in the store's table, with the lines and
// rules of package audit: an item for each block of lines that were appended
// together, and one that names the end of the chain. It is safe for concurrent
// use by several goroutines and processes.
//
// The end is sealed, so that whoever can write to the table but has not the
// key cannot forge it. A block is put before the end moves, each by one write
// on condition that nobody was faster: two writes, of which a transaction would
// cost twice as much. A process that dies between the two leaves a block after
// the end, which is taken over by the next one: it shows that it is genuine by a
// MAC under a key that is sealed in the end, for this one block. Whatever else
// is found after the end was written by somebody without the key.
type Audit struct {
	API    API
	Table  string
	Sealer seal.Sealer
	// Chain names the chain, for processes that should not wait for each
	// other, such as the rotator and the API. Default "main".
	Chain string
	// Now is the clock of the log's own events. Default time.Now.
	Now func() time.Time

	mu      sync.Mutex
	joining *eventBatch // collects events until its turn comes
	turn    chan struct{}

	// Whoever has the turn.
	known end       // as it was last written or read
	fresh time.Time // until when it need not be read again
}

var _ rotate.Audit = (*Audit)(nil)

// eventBatch is what one block takes to the table.
type eventBatch struct {
	events [][]byte // in JSON
	size   int
	taken  bool
	put    bool          // the block is there, only the end has not been seen to move
	done   chan struct{} // closed when err is set
	err    error
}

func (b *eventBatch) add(raw []byte) {
	b.events, b.size = append(b.events, raw), b.size+len(raw)
}

// Append implements [rotate.Audit]. Events that arrive while another block is
// under way share the next one. If ctx ends first, the event may still be
// recorded.
func (a *Audit) Append(ctx context.Context, e rotate.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return explain("recording "+e.Action, a.Table, err)
	}
	a.mu.Lock()
	if a.turn == nil {
		a.turn = make(chan struct{}, 1)
	}
	if b := a.joining; b == nil || len(b.events) >= auditBatch || b.size+len(raw) > auditBytes {
		a.joining = &eventBatch{done: make(chan struct{})}
	}
	b := a.joining
	b.add(raw)
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
	for again := false; ; again = true {
		b.err = a.write(ctx, b, again)
		if !errors.Is(b.err, rotate.ErrConflict) || !pause(ctx) {
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

// write appends the batch where the chain ends. again: an earlier try found
// that it did not end there. ErrConflict: that was found now.
func (a *Audit) write(ctx context.Context, b *eventBatch, again bool) error {
	at, err := a.end(ctx, again)
	if err != nil {
		return err
	}
	if !at.there && at.gap == "" { // a new log: its end has the key that proves its first block
		if err := a.move(ctx, at, audit.Tail{}); err != nil {
			return err
		}
		at = a.known
	}
	var events [][]byte
	if at.gap != "" {
		raw, err := json.Marshal(rotate.Event{Time: a.now(), Action: audit.ActionGap, Reason: at.gap, Actor: "audit"})
		if err != nil {
			return err
		}
		events = append(events, raw)
	}
	if !b.put {
		events = slices.Concat(events, b.events)
	}
	if len(events) == 0 {
		return nil // another process has moved the end past the block
	}
	var lines []byte
	to := at.after
	for _, raw := range events {
		lines, to = audit.Frame(lines, to, raw)
	}
	if err := a.put(ctx, at, lines); err != nil {
		return err
	}
	b.put = true
	return a.move(ctx, at, to)
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
