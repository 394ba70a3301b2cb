package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/hint"
)

// locked runs f under the lock between processes.
func (l *Log) locked(ctx context.Context, f func() error) error {
	free, err := l.lock.TryLock()
	if err == nil && !free {
		err = l.await(ctx)
	}
	return l.underLock(err, f)
}

// underLock runs f and gives the lock up, if there was no error in taking it.
func (l *Log) underLock(err error, f func() error) error {
	if err != nil {
		return fmt.Errorf("locking the audit log: %w", err)
	}
	return errors.Join(f(), l.lock.Unlock())
}

// await takes the lock as soon as the process that has it gives it back.
func (l *Log) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.LockWait)
	defer cancel()
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if free, err := l.lock.TryLock(); err != nil || free {
			return err
		}
	}
}

// reopen opens the file at the path, which may have been moved away.
func (l *Log) reopen() error {
	if err := disk.Create(l.o.Path, nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := l.o.open(l.o.Path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkMode(l.o.Path, info)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.mine, l.size = f, info, -1
	return err
}

// checkMode lets others read the log, which holds no secret (a shipper may
// have to), but not write it.
func checkMode(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if m := info.Mode().Perm(); m&0o022 != 0 && runtime.GOOS != "windows" {
		return hint.Wrap(fmt.Errorf("%s can be changed by others (mode %04o)", path, m), "chmod 600 "+path)
	}
	if err := disk.Trusted(path); err != nil {
		return err
	}
	return disk.Alone(path) // its .tail and .lock
}

// refresh finds out what happened to the file since this process last wrote:
// it may have been moved away, have grown by another process's lines, or end
// in what a killed process left. It returns the events that must be recorded
// about that. The file lock is held.
func (l *Log) refresh() (repairs [][]byte, err error) {
	there, err := os.Stat(l.o.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(l.mine, there) {
		if err := l.reopen(); err != nil {
			return nil, err
		}
		l.synced, l.held = mark{0, l.tail}, nil
		there, err = l.file.Stat()
	}
	if err != nil {
		return nil, err
	}
	if there.Size() == l.size {
		return nil, nil
	}
	before := l.tail
	line, torn, err := lastLine(l.file, there.Size())
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		if err := l.file.Truncate(there.Size() - torn); err != nil {
			return nil, err
		}
		repairs = append(repairs, l.event(ActionRepair, fmt.Sprintf("an incomplete last line of %d bytes was removed", torn)))
	}
	l.size = there.Size() - torn
	if line == nil {
		return repairs, nil // a new file goes on where the last one ended
	}
	last, err := ParseLine(line)
	if err != nil {
		return append(repairs, l.event(ActionGap, "the last line is unreadable")), nil
	}
	if last.Seq < before.Seq || last.Seq == before.Seq && last.Hash != before.Hash {
		return append(repairs, l.event(ActionGap, fmt.Sprintf(
			"the log ended at number %d, not where this process had left it, at %d", last.Seq, before.Seq))), nil
	}
	l.tail = Tail{last.Seq, last.Hash}
	return repairs, nil
}

// lastLine returns the last whole line of a file of the given size (nil: none)
// and the number of bytes after it.
func lastLine(f io.ReaderAt, size int64) (line []byte, torn int64, err error) {
	for window := int64(4096); ; window *= 4 {
		window = min(window, size)
		b := make([]byte, window)
		if _, err := f.ReadAt(b, size-window); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		if len(whole) > 0 {
			start := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
			if start > 0 || window == size {
				return whole[start : len(whole)-1], int64(len(b) - len(whole)), nil
			}
		}
		if window == size {
			return nil, size, nil
		}
		if window > 4*maxLine {
			return nil, 0, fmt.Errorf("no line within the last %d bytes: %w", window, ErrBroken)
		}
	}
}

// checkSince checks the lines of a log from the anchor's on: that it is the
// line the anchor names, and that the later ones follow it. Lines before are
// left to a full verification, which still can find a change there.
func checkSince(f io.ReaderAt, size int64, anchor Tail) error {
	for window := int64(64 << 10); ; window *= 4 {
		window = min(window, size)
		r := bufio.NewReader(io.NewSectionReader(f, size-window, window))
		if window < size {
			if _, err := r.ReadBytes('\n'); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		end, first := Tail{}, true
		for l, err := range Lines(r) {
			switch {
			case err != nil:
				return err
			case first && l.Seq > anchor.Seq && window == size:
				return nil // it was pruned, or a full verification says that it was not
			case l.Seq == anchor.Seq && l.Hash != anchor.Hash:
				return fmt.Errorf("number %d is not the line that the anchor names: %w", l.Seq, ErrBroken)
			case end.Seq >= anchor.Seq && !first && (l.Seq != end.Seq+1 || l.Prev != end.Hash):
				return fmt.Errorf("number %d does not follow the line before it: %w", l.Seq, ErrBroken)
			}
			if first && l.Seq > anchor.Seq {
				break // look further back
			}
			end, first = Tail{l.Seq, l.Hash}, false
		}
		if !first || window == size {
			return nil
		}
	}
}
