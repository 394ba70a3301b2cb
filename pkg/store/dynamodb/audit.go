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

	// auditBehind is how long the end may wait for Flush: it is moved by the next
	// append then.
	auditBehind = 30 * time.Second
)

// Audit is a hash chain of events in the store's table, with the lines and
// rules of package audit: an item for each block of lines that were appended
// together, and one that names the end of the chain. It is safe for concurrent
// use by several goroutines and processes.
//
// The end is sealed, so that whoever can write to the table but has not the
// key cannot forge it. A block is put before the end moves, each by one write
// on condition that nobody was faster. Events that say that more are to come
// (rotate.Event.More) leave the end where it is until Flush, so that a pass of
// many events moves it once. Blocks after the end belong to the log, whoever put
// them and died: each shows that it is genuine by a MAC under a key that is
// sealed in the end. Whatever else is found there was written by somebody
// without the key.
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
	late  time.Time // since when the end has not moved to blocks of ours; zero: it has
}

var _ rotate.Audit = (*Audit)(nil)

// eventBatch is what one block takes to the table.
type eventBatch struct {
	events [][]byte // in JSON
	size   int
	taken  bool
	ends   bool          // one of them is the last for now
	put    bool          // the block is there, only the end has not been seen to move
	done   chan struct{} // closed when err is set
	err    error
}

func (b *eventBatch) add(raw []byte, ends bool) {
	b.events, b.size, b.ends = append(b.events, raw), b.size+len(raw), b.ends || ends
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
	turn := a.turns()
	a.mu.Lock()
	if b := a.joining; b == nil || len(b.events) >= auditBatch || b.size+len(raw) > auditBytes {
		a.joining = &eventBatch{done: make(chan struct{})}
	}
	b := a.joining
	b.add(raw, !e.More)
	a.mu.Unlock()
	select {
	case <-b.done:
	case turn <- struct{}{}:
		a.commit(ctx, b)
		<-turn
	case <-ctx.Done():
		return ctx.Err()
	}
	return explain("recording "+e.Action, a.Table, b.err)
}

func (a *Audit) turns() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turn == nil {
		a.turn = make(chan struct{}, 1)
	}
	return a.turn
}

// Flush moves the end to what was appended.
func (a *Audit) Flush(ctx context.Context) error {
	turn := a.turns()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-turn }()
	if a.late.IsZero() {
		return nil
	}
	var err error
	for again := false; ; again = true {
		var at end
		if at, err = a.end(ctx, again); err == nil {
			err = a.move(ctx, at, at.after)
		}
		if !errors.Is(err, rotate.ErrConflict) || !pause(ctx) {
			return explain("moving the end of the audit log", a.Table, err)
		}
	}
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
	if len(events) > 0 {
		var lines []byte
		to := at.after
		for _, raw := range events {
			lines, to = audit.Frame(lines, to, raw)
		}
		if err := a.put(ctx, at, lines); err != nil {
			return err
		}
		b.put, at.after = true, to
	}
	if !b.ends && at.gap == "" && a.waits() {
		a.known, a.fresh = at, a.now().Add(endFresh)
		return nil
	}
	return a.move(ctx, at, at.after)
}

// waits reports whether the end may wait for Flush.
func (a *Audit) waits() bool {
	if a.late.IsZero() {
		a.late = a.now()
	}
	d := a.now().Sub(a.late)
	return d >= 0 && d < auditBehind
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
