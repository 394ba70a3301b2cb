//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package audit

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lock is the lock between processes (flock(2)) on a file that stays open, so
// that a batch opens and closes nothing. It is not safe for concurrent use.
type lock struct {
	path string
	file *os.File // nil: not open
	info fs.FileInfo
}

func newLock(path string) *lock { return &lock{path: path} }

// TryLock takes the lock, unless another process has it.
func (l *lock) TryLock() (bool, error) {
	for {
		if l.file == nil {
			if err := l.open(); err != nil {
				return false, err
			}
		}
		err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case err != nil:
			return false, &fs.PathError{Op: "flock", Path: l.path, Err: err}
		}
		// If somebody removed or replaced the file, others lock the new one.
		there, err := os.Stat(l.path)
		if err == nil && os.SameFile(l.info, there) {
			return true, nil
		}
		if err = errors.Join(ignoreMissing(err), l.Close()); err != nil {
			return false, err
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l *lock) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.info = f, info
	return nil
}

// Unlock gives the lock back.
func (l *lock) Unlock() error {
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN); err != nil {
		return errors.Join(&fs.PathError{Op: "flock", Path: l.path, Err: err}, l.Close()) // which gives it back, too
	}
	return nil
}

// Close closes the file and gives the lock back, if it is held.
func (l *lock) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file, l.info = nil, nil
	return f.Close()
}
