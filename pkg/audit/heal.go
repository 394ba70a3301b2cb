package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

const (
	firstPause = time.Second      // before the first attempt to sync again
	longPause  = 30 * time.Second // it doubles up to this
	maxHeld    = 4 << 20          // bytes of lines that are kept until they are synced
	blockSize  = 256 << 10
)

// file is what the log needs of an open file.
type file interface {
	io.Writer
	io.ReaderAt
	io.WriterAt
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
	Close() error
}

func openFile(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return f, nil
}

// mark is a place in the file that ends a line.
type mark struct {
	size int64
	tail Tail
}

// chunk is what this process wrote at a place in the file.
type chunk struct {
	at    int64
	bytes []byte
}

// illness is what is known of a disk that failed to sync the log. After such a
// failure nobody knows what the disk has: the kernel may have dropped what was
// written, and it tells so only once. The log takes nothing until its end was
// written again and synced.
type illness struct {
	err   error     // nil: the log may be written to
	since time.Time // zero: the latest sync succeeded
	pause time.Duration
	next  time.Time // no attempt before
}

// fail notes that the disk failed to sync the log.
func (l *Log) fail(err error) error {
	now := time.Now()
	if l.ill.since.IsZero() {
		l.ill.since = now
		l.o.Log.Error("the audit log cannot be synced: nothing is rotated until it can", "path", l.o.Path, "err", err)
	}
	l.ill.pause = min(max(2*l.ill.pause, firstPause), longPause)
	l.ill.next = now.Add(l.ill.pause)
	l.ill.err = fmt.Errorf("syncing the audit log: %w", err)
	return l.ill.err
}

// succeed notes that everything up to there is on the disk.
func (l *Log) succeed(at mark) {
	if !l.ill.since.IsZero() {
		l.o.Log.Warn("the audit log can be synced again", "path", l.o.Path, "after", time.Since(l.ill.since).Round(time.Second))
	}
	l.ill, l.synced = illness{}, at
}

// heal makes a log sound again that could not be synced, unless it was tried a
// moment ago: it opens the file anew, writes everything after the last good
// sync once more and checks it against the anchors. It returns what must be
// recorded about that. The turn and the file lock are held.
func (l *Log) heal(ctx context.Context) (repairs [][]byte, err error) {
	if l.ill.err == nil {
		return nil, nil
	}
	if time.Now().Before(l.ill.next) {
		return nil, l.ill.err
	}
	anchor, _, err := StoredTail(ctx, l.o.Settings)
	if err == nil {
		err = l.rewrite()
	}
	if err == nil {
		repairs, err = l.compare(ctx, anchor)
	}
	if err != nil {
		return nil, l.fail(err)
	}
	reason := fmt.Sprintf("for %s the log could not be synced (%v); its end was written again",
		time.Since(l.ill.since).Round(time.Second), errors.Unwrap(l.ill.err))
	l.ill.err = nil
	return append(repairs, l.event(ActionRepair, reason)), nil
}

// rewrite takes everything after the last good sync to the disk: other
// processes' lines as the file has them, ours as they were written.
func (l *Log) rewrite() error {
	was, from := l.file, l.synced
	before, err := was.Stat()
	if err != nil {
		return err
	}
	if err := l.reopen(); err != nil {
		return err
	}
	now, err := l.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(before, now) { // it was moved away: a new file has nothing of ours
		l.synced, l.held = mark{0, l.tail}, nil
		return nil
	}
	f, err := l.o.open(l.o.Path, os.O_RDWR) // at O_APPEND, WriteAt is not possible
	if err != nil {
		return err
	}
	return errors.Join(writeAgain(f, now.Size(), from.size, l.held), f.Sync(), f.Close())
}

// writeAgain writes the chunks, and what the file has from a place on, at the
// same place.
func writeAgain(f file, size, from int64, chunks []chunk) error {
	for _, c := range chunks {
		if c.at > size {
			break // something before it is missing, which comparing will find
		}
		size = max(size, c.at+int64(len(c.bytes)))
		if _, err := f.WriteAt(c.bytes, c.at); err != nil {
			return err
		}
	}
	b := make([]byte, blockSize)
	for {
		n, err := f.ReadAt(b, from)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return nil
		}
		if _, err := f.WriteAt(b[:n], from); err != nil {
			return err
		}
		from += int64(n)
	}
}

// hold keeps what was written until it is synced. What is too much to keep is
// left to the file.
func (l *Log) hold(at int64, b []byte) {
	n := len(b)
	for _, c := range l.held {
		n += len(c.bytes)
	}
	if n > maxHeld {
		l.held = nil
		return
	}
	if last := len(l.held) - 1; last >= 0 {
		c := &l.held[last]
		// A longer one would be copied again and again as it grows.
		if c.at+int64(len(c.bytes)) == at && len(c.bytes)+len(b) <= blockSize {
			c.bytes = append(c.bytes, b...)
			return
		}
	}
	l.held = append(l.held, chunk{at, append(l.spare, b...)})
	l.spare = nil
}

// sync takes the file to the disk. The turn is held, and given back while the
// disk works: the events of a second take it long, and others append meanwhile.
// Always syncs itself, with the turn, because of two syncs side by side only one
// would learn that the disk has failed.
func (l *Log) sync() error {
	switch {
	case l.ill.err != nil:
		return l.ill.err
	case l.o.Sync == Always:
		if err := l.file.Sync(); err != nil {
			return l.fail(err)
		}
		l.succeed(mark{l.size, l.tail})
		return nil
	}
	f, at, held := l.file, mark{l.size, l.tail}, l.held
	l.held = nil
	<-l.turn
	err := f.Sync()
	l.turn <- struct{}{}
	switch {
	case f != l.file: // it was moved away meanwhile
		return nil
	case err != nil:
		l.held = slices.Concat(held, l.held)
		return l.fail(err)
	}
	if len(held) > 0 {
		l.spare = held[0].bytes[:0]
	}
	l.succeed(at)
	return nil
}
