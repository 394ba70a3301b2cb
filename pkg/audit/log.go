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
//
// A disk that fails to sync the log stops it for that while only: the end is
// written again, checked and synced as soon as the disk can (see heal.go).
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

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

// maxBatch bounds what waits for the disk, in bytes; the rest waits with its
// callers.
const maxBatch = 1 << 20

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
	Log      *slog.Logger     // told when the disk fails and when it is back; default: nobody is

	open   func(path string, flag int) (file, error) // default openFile
	rename func(from, to string) error               // default os.Rename; of the log itself
}

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	o       Options
	lock    *lock         // between processes; the turn is held by whoever uses it
	dirty   chan struct{} // something was written that is not settled
	stop    chan struct{}
	settler sync.WaitGroup

	mu      sync.Mutex
	joining *batch // collects events until its turn comes
	closed  bool

	turn chan struct{} // held by whoever touches what follows
	file file
	mine fs.FileInfo // which file it is
	size int64
	tail Tail
	buf  []byte
	// What the disk has for certain, and what was written since.
	synced mark
	held   []chunk
	spare  []byte  // of a chunk that is held no longer
	ill    illness // the latest sync failed
}

// batch is what one write and one sync take to the disk.
type batch struct {
	events [][]byte
	size   int           // bytes of the events
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.open == nil {
		o.open = openFile
	}
	if o.rename == nil {
		o.rename = os.Rename
	}
	l := &Log{
		o: o, joining: newBatch(),
		lock:  newLock(lockPath(o.Path)),
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	if err := l.start(ctx); err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close(), l.lock.Close())
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
		repairs, err := l.compare(ctx, anchor)
		if err != nil {
			return err
		}
		l.synced = mark{l.size, l.tail} // whoever wrote it has seen to that
		if len(repairs) == 0 {
			return nil
		}
		return l.write(nil, repairs)
	})
}

// compare reads the end of the file and holds it against the anchor, and
// against the one beside it. It returns what must be recorded about that. The
// file lock is held.
func (l *Log) compare(ctx context.Context, anchor Tail) (repairs [][]byte, err error) {
	if repairs, err = l.refresh(); err != nil {
		return nil, err
	}
	beside, err := ReadTail(l.o.Path)
	if err != nil {
		repairs = append(repairs, l.event(ActionGap, err.Error()))
	}
	if beside.Seq > anchor.Seq {
		anchor = beside
	}
	if l.size == 0 && anchor.Seq > 0 {
		if end, ok := l.movedAway(ctx, anchor); ok {
			l.tail = end
			return repairs, nil
		}
	}
	if reason := l.mismatch(anchor); reason != "" {
		repairs = append(repairs, l.event(ActionGap, reason))
		l.tail = anchor // go on from there: the break stays visible
	}
	return repairs, nil
}

// movedAway returns the end of the log if log rotation has moved it away: the
// newest of those files has the line that the anchor names.
func (l *Log) movedAway(ctx context.Context, anchor Tail) (end Tail, ok bool) {
	names, err := Rotated(l.o.Path)
	if err != nil || len(names) == 0 {
		return Tail{}, false
	}
	files, err := OpenFiles(ctx, names[0], names[1:]...)
	if err != nil {
		return Tail{}, false
	}
	defer func() { _ = files.Close() }() // only read
	end, err = files[len(files)-1:].Verify(anchor)
	return end, err == nil || errors.Is(err, errBegin)
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
	for {
		b, joined, err := l.join(event)
		if err != nil {
			return err
		}
		runtime.Gosched() // whoever is about to append too may join
		select {
		case <-b.done:
		case l.turn <- struct{}{}:
			l.commit(ctx, b)
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-b.done:
		case <-ctx.Done(): // another process has the lock, and may be stopped
			return ctx.Err()
		}
		switch {
		case joined && b.err != nil:
			return fmt.Errorf("recording %s: %w", e.Action, b.err)
		case joined:
			return nil
		}
	}
}

// join adds the event to the batch that is to be written next, unless that is
// full: while a disk hangs, callers come and leave.
func (l *Log) join(event []byte) (b *batch, joined bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false, ErrClosed
	}
	b = l.joining
	if len(b.events) > 0 && b.size+len(event) > maxBatch {
		return b, false, nil
	}
	b.events, b.size = append(b.events, event), b.size+len(event)
	return b, true, nil
}

// commit writes the batch unless somebody else has done so, and gives the turn
// up, which is held. If another process has the lock, it returns before that.
func (l *Log) commit(ctx context.Context, b *batch) {
	l.mu.Lock()
	if l.joining != b { // it was replaced when its turn came
		l.mu.Unlock()
		<-l.turn
		return
	}
	l.joining = newBatch()
	l.mu.Unlock()
	end := func(err error) {
		b.err = err
		close(b.done)
		<-l.turn
	}
	if len(b.events) == 0 {
		end(nil)
		return
	}
	// The leader's context must not fail the others of its batch.
	ctx = context.WithoutCancel(ctx)
	if free, err := l.lock.TryLock(); err != nil || free {
		end(l.underLock(err, func() error { return l.writeBatch(ctx, b) }))
		return
	}
	go func() { end(l.underLock(l.await(ctx), func() error { return l.writeBatch(ctx, b) })) }() // Close waits for the turn
}

// writeBatch writes what must be recorded about the file, and the batch. The turn
// and the file lock are held.
func (l *Log) writeBatch(ctx context.Context, b *batch) error {
	healed, err := l.heal(ctx)
	if err != nil {
		return err
	}
	repairs, err := l.refresh()
	if err != nil {
		return err
	}
	return l.write(append(healed, repairs...), b.events)
}

// write appends repairs and events to the file. The file lock is held.
func (l *Log) write(repairs, events [][]byte) error {
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
	if l.o.Sync == Always {
		if err := l.file.Sync(); err != nil {
			// Nobody else has added to it: the lock is held.
			return errors.Join(l.fail(err), l.file.Truncate(l.size))
		}
	} else {
		l.hold(l.size, buf)
	}
	l.size += int64(len(buf))
	l.tail = tail
	if l.o.Sync == Always {
		l.succeed(mark{l.size, l.tail})
	}
	l.tellSettler() // of the anchors, which may lag
	return nil
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
	l.ill.next = time.Time{} // the last attempt waits for nothing
	l.commit(ctx, last)
	<-last.done
	return errors.Join(last.err, l.settle(ctx), l.file.Close(), l.lock.Close())
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
