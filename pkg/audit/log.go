// Package audit keeps the record of what keyrot did: an append-only file of
// JSON lines, each holding the hash of the one before it. It implements
// rotate.Audit. Several goroutines and processes may append to one file.
//
// The chain shows any change to whoever knows its end, which is therefore
// kept twice: beside the log (PATH.tail; finds accidents), and, if Settings is
// given, sealed in the store (finds tampering by somebody who can rewrite
// files but does not have the key). An anchor names only what was synced
// before; it may lag the log by about a second.
//
// Opening repairs what a crash leaves, an incomplete last line, and says so
// in the log. If lines that an anchor names are missing, it says that too and
// goes on: rotation must not stop because somebody damaged the evidence, and
// verification keeps failing at that place.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Sync says when Append's events are safe.
type Sync string

// The sync modes.
const (
	// Always: synced to the disk when Append returns; concurrent Appends share
	// one sync.
	Always Sync = "always"
	// Second: handed to the operating system when Append returns, synced
	// within about a second. A crash of the process loses nothing, one of the
	// machine up to that second.
	Second Sync = "second"
)

// ErrClosed: Append after Close.
var ErrClosed = errors.New("audit log is closed")

// The actions of events that the log itself records.
const (
	ActionRepair = "audit_repair" // an incomplete last line was removed
	ActionGap    = "audit_gap"    // lines are missing or unreadable
)

// Options says how a log is opened.
type Options struct {
	Path     string
	Sync     Sync             // default Always
	Settings rotate.Settings  // keeps the sealed anchor; nil: none is kept
	Now      func() time.Time // for the log's own events; default time.Now
	LockWait time.Duration    // bound on waiting for another process; default 10 s
}

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	o       Options
	lock    *flock.Flock
	dirty   chan struct{} // something was written that is not settled
	stop    chan struct{}
	settler sync.WaitGroup

	mu      sync.Mutex
	joining *batch // collects events until its turn comes
	closed  bool

	turn chan struct{} // held by whoever touches what follows
	file *os.File
	size int64
	tail Tail
	buf  []byte
	lost error // a sync failed: what is on the disk is unknown
}

// batch is what one write and one sync take to the disk.
type batch struct {
	events [][]byte
	done   chan struct{} // closed when err is set
	err    error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

var _ rotate.Audit = (*Log)(nil)

// Open opens the log, making the file (mode 0600) if it is missing.
func Open(ctx context.Context, o Options) (*Log, error) {
	switch o.Sync {
	case "":
		o.Sync = Always
	case Always, Second:
	default:
		return nil, fmt.Errorf("audit sync mode %q: want %q or %q", o.Sync, Always, Second)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LockWait <= 0 {
		o.LockWait = 10 * time.Second
	}
	l := &Log{
		o: o, joining: newBatch(),
		lock:  flock.New(lockPath(o.Path), flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600)),
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	if err := l.start(ctx); err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, fmt.Errorf("opening the audit log %s: %w", o.Path, err)
	}
	background := context.WithoutCancel(ctx) // ends with Close, not with the opening
	l.settler.Go(func() { l.settleEverySecond(background) })
	return l, nil
}

// start finds the end of the log and of the chain, and says what it repaired.
func (l *Log) start(ctx context.Context) error {
	if err := l.reopen(); err != nil {
		return err
	}
	anchor, _, err := StoredTail(ctx, l.o.Settings)
	if err != nil {
		return err
	}
	return l.locked(ctx, func() error {
		repairs, err := l.refresh()
		if err != nil {
			return err
		}
		beside, err := ReadTail(l.o.Path)
		if err != nil {
			repairs = append(repairs, l.event(ActionGap, err.Error()))
		}
		if beside.Seq > anchor.Seq {
			anchor = beside
		}
		if reason := l.mismatch(anchor); reason != "" {
			repairs = append(repairs, l.event(ActionGap, reason))
			l.tail = anchor // go on from there: the break stays visible
		}
		if len(repairs) == 0 {
			return nil
		}
		return l.write(nil, repairs)
	})
}

// mismatch says how the file does not agree with the anchor, or "".
func (l *Log) mismatch(anchor Tail) string {
	switch {
	case anchor.Seq > l.tail.Seq:
		return fmt.Sprintf("the log ended at number %d, its anchor names %d", l.tail.Seq, anchor.Seq)
	case anchor.Seq > 0:
		if err := checkSince(l.file, l.size, anchor); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Append implements [rotate.Audit]. If ctx ends first, the event may still be
// recorded.
func (l *Log) Append(ctx context.Context, e rotate.Event) error {
	event, err := json.Marshal(e)
	if err == nil && len(event) > maxLine-512 {
		err = fmt.Errorf("an event of %d bytes", len(event))
	}
	if err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	b := l.joining
	b.events = append(b.events, event)
	l.mu.Unlock()

	runtime.Gosched() // whoever is about to append too may join
	select {
	case <-b.done:
	case l.turn <- struct{}{}:
		l.commit(ctx, b)
		<-l.turn
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, b.err)
	}
	return nil
}

// commit writes the batch unless somebody else has done so. The turn is held.
func (l *Log) commit(ctx context.Context, b *batch) {
	l.mu.Lock()
	if l.joining != b { // it was replaced when its turn came
		l.mu.Unlock()
		<-b.done
		return
	}
	l.joining = newBatch()
	l.mu.Unlock()
	defer close(b.done)
	if len(b.events) == 0 {
		return
	}
	// The leader's context must not fail the others of its batch.
	b.err = l.locked(context.WithoutCancel(ctx), func() error {
		repairs, err := l.refresh()
		if err != nil {
			return err
		}
		return l.write(repairs, b.events)
	})
}

// write appends repairs and events to the file. The file lock is held.
func (l *Log) write(repairs, events [][]byte) error {
	if l.lost != nil {
		return l.lost
	}
	buf, tail := l.buf[:0], l.tail
	for _, group := range [][][]byte{repairs, events} {
		for _, e := range group {
			buf, tail = Frame(buf, tail, e)
		}
	}
	l.buf = buf
	if cap(l.buf) > maxLine {
		l.buf = nil // do not keep what one burst needed
	}
	if _, err := l.file.Write(buf); err != nil {
		// Take back what a full disk let through; if that fails, the next
		// refresh removes the incomplete line.
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(buf))
	l.tail = tail
	if l.o.Sync == Always {
		if err := l.sync(); err != nil {
			return err
		}
		if err := l.writeTail(); err != nil {
			return err
		}
	}
	l.tellSettler()
	return nil
}

// sync takes the file to the disk. After a failure nobody knows what is there
// (the kernel may have dropped the pages), so the log accepts nothing more
// until it is opened again.
func (l *Log) sync() error {
	if l.lost == nil {
		if err := l.file.Sync(); err != nil {
			l.lost = fmt.Errorf("syncing the audit log: %w", err)
		}
	}
	return l.lost
}

// Close writes what is waiting, settles the anchors and releases the file.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	last := l.joining
	l.mu.Unlock()
	close(l.stop)
	l.settler.Wait()
	l.turn <- struct{}{}
	l.commit(ctx, last)
	<-l.turn
	return errors.Join(last.err, l.settle(ctx), l.file.Close())
}

// event makes an event of the log's own.
func (l *Log) event(action, reason string) []byte {
	b, err := json.Marshal(rotate.Event{Time: l.o.Now(), Action: action, Reason: reason, Actor: "audit"})
	if err != nil {
		// Only a year beyond 9999 cannot be expressed.
		b, _ = json.Marshal(rotate.Event{Action: action, Reason: reason, Actor: "audit"})
	}
	return b
}
