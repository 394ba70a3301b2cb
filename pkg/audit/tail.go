package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// tailSetting is the name under which the sealed anchor is kept.
const tailSetting = "audit/tail"

// tailSize is the fixed size of the file beside the log, so that rewriting it
// touches one disk sector.
const tailSize = 128

func tailPath(path string) string { return path + ".tail" }

// lockPath is a file of its own: where locks are mandatory, a locked file
// cannot be read through another descriptor.
func lockPath(path string) string { return path + ".lock" }

// ReadTail returns the anchor beside the log; zero if there is none yet.
func ReadTail(path string) (Tail, error) {
	b, err := os.ReadFile(tailPath(path))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(b)) == 0 {
		return Tail{}, nil
	}
	var t Tail
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return Tail{}, fmt.Errorf("reading the anchor beside the log: %w", err)
	}
	return t, nil
}

// StoredTail returns the anchor in the store and its version; zero if there
// is none yet or s is nil.
func StoredTail(ctx context.Context, s rotate.Settings) (Tail, int64, error) {
	if s == nil {
		return Tail{}, 0, nil
	}
	b, version, err := s.Setting(ctx, tailSetting)
	if errors.Is(err, rotate.ErrNotFound) {
		return Tail{}, 0, nil
	}
	var t Tail
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return Tail{}, 0, fmt.Errorf("reading the audit log's anchor: %w", err)
	}
	return t, version, nil
}

// VerifyFile checks the log at path, while it may be written to, against the
// anchor beside it and the one in s (nil: none), and returns its end. Others are
// files of what came right before it; if none are given and its beginning is
// missing, those are taken that log rotation has left beside it. Memory is
// constant.
func VerifyFile(ctx context.Context, path string, s rotate.Settings, others ...string) (Tail, error) {
	// Anchors first: the log may only be ahead of them.
	stored, _, err := StoredTail(ctx, s)
	if err != nil {
		return Tail{}, err
	}
	beside, err := lockedTail(ctx, path)
	if err != nil {
		return Tail{}, err
	}
	end, err := verifyFiles(ctx, path, others, stored, beside)
	if errors.Is(err, errBegin) && len(others) == 0 {
		if others, rerr := Rotated(path); rerr != nil || len(others) > 0 {
			return verifyFiles(ctx, path, others, stored, beside)
		}
		err = hint.Wrap(err, "if log rotation has moved them away, name their files: keyrot audit verify FILE…")
	}
	return end, err
}

func verifyFiles(ctx context.Context, path string, others []string, anchors ...Tail) (Tail, error) {
	files, err := OpenFiles(ctx, path, others...)
	if err != nil {
		return Tail{}, err
	}
	defer func() { _ = files.Close() }() // only read
	return files.Verify(anchors...)
}

// lockedTail reads the anchor while nobody writes it.
func lockedTail(ctx context.Context, path string) (Tail, error) {
	lock := flock.New(lockPath(path), flock.SetFlag(os.O_RDONLY))
	_, err := lock.TryRLockContext(ctx, time.Millisecond)
	if errors.Is(err, fs.ErrNotExist) {
		return ReadTail(path) // a copy of the log: nobody writes
	}
	if err != nil {
		return Tail{}, fmt.Errorf("locking the audit log: %w", err)
	}
	t, err := ReadTail(path)
	return t, errors.Join(err, lock.Unlock())
}

// writeTail renews the anchor beside the log unless another process has
// written a newer one. The file lock is held, the log is synced.
func (l *Log) writeTail() error {
	if there, err := ReadTail(l.o.Path); err == nil && there.Seq >= l.synced.tail.Seq {
		return nil
	}
	b, err := json.Marshal(l.synced.tail)
	if err != nil {
		return err
	}
	b = append(b, bytes.Repeat([]byte{' '}, tailSize-1-len(b))...)
	f, err := os.OpenFile(tailPath(l.o.Path), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("writing the anchor: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}

// settleEverySecond syncs and renews the anchors at most once a second while
// something is written. What fails is tried again; Close reports what remains.
func (l *Log) settleEverySecond(ctx context.Context) {
	for {
		select {
		case <-l.stop:
			return
		case <-l.dirty:
		}
		t := time.NewTimer(time.Second)
		select {
		case <-l.stop:
			t.Stop()
			return
		case <-t.C:
		}
		if l.settle(ctx) != nil {
			l.tellSettler()
		}
	}
}

func (l *Log) tellSettler() {
	select {
	case l.dirty <- struct{}{}:
	default: // told already
	}
}

// settle syncs the log and then moves the anchors to what was its end. Appends
// wait for neither.
func (l *Log) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.LockWait)
	defer cancel()
	l.turn <- struct{}{}
	err := l.recovered(ctx)
	if err == nil {
		err = l.sync()
	}
	tail := l.synced.tail
	if err == nil && tail.Seq > 0 {
		err = l.locked(ctx, l.writeTail)
	}
	<-l.turn
	if err != nil || tail.Seq == 0 {
		return err
	}
	return l.storeTail(ctx, tail)
}

// recovered heals a log that could not be synced, and records that. The turn is
// held.
func (l *Log) recovered(ctx context.Context) error {
	if l.ill.err == nil {
		return nil
	}
	return l.locked(ctx, func() error {
		repairs, err := l.heal(ctx)
		if err != nil {
			return err
		}
		return l.write(nil, repairs)
	})
}

// storeTail renews the anchor in the store unless it names a later line.
func (l *Log) storeTail(ctx context.Context, tail Tail) error {
	if l.o.Settings == nil {
		return nil
	}
	there, version, err := StoredTail(ctx, l.o.Settings)
	if err != nil || there.Seq >= tail.Seq {
		return err
	}
	b, err := json.Marshal(tail)
	if err != nil {
		return err
	}
	_, err = l.o.Settings.SaveSetting(ctx, tailSetting, b, version)
	if errors.Is(err, rotate.ErrConflict) {
		return nil // another process has just moved it
	}
	return err
}
