// Package disk holds what every file with something private in it needs: a
// check of its mode, and a directory that is as durable as the file.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/internal/trust"
)

// ErrExposed: a private file's mode lets others at it.
var ErrExposed = errors.New("can be read or changed by others")

// ReadTrusted returns what a file holds that is believed: settings, a key, a
// token, certificates. It refuses a path whose target others can change, and
// what holds more than 16 MiB: a device, say, has no end.
func ReadTrusted(path string) ([]byte, error) {
	if err := Trusted(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	raw, err := io.ReadAll(io.LimitReader(f, maxTrusted+1))
	if err == nil && len(raw) > maxTrusted {
		return nil, fmt.Errorf("%s holds more than %d MiB", path, maxTrusted>>20)
	}
	return raw, err
}

const maxTrusted = 16 << 20 // bytes

// Trusted refuses a path whose target others can change (package trust).
func Trusted(path string) error {
	err := trust.Path(path)
	if untrusted := (*trust.Error)(nil); err == nil || errors.As(err, &untrusted) {
		return err
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

// Private refuses a file that is not regular, that others than its owner can
// read, or that is not [Trusted].
func Private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	// Windows has no such mode bits; there the directory's ACL protects it.
	if m := info.Mode().Perm(); m&0o077 != 0 && runtime.GOOS != "windows" {
		return hint.Wrap(fmt.Errorf("%s %w (mode %04o)", path, ErrExposed, m), "chmod 600 "+path)
	}
	return Trusted(path)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(d), d.Close())
}

func syncDir(d *os.File) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	return d.Sync()
}

// Create makes a file of mode 0600 with the content, durably, and the
// directory if it is missing. The file appears whole, for one of several
// processes only, and never in place of another one: then the error is
// fs.ErrExist.
func Create(path string, content []byte) error {
	dir, err := OpenDir(filepath.Dir(path), true)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := temporary(dir)
	if err != nil {
		return err
	}
	temp := filepath.Base(f.Name())
	defer func() { _ = dir.Remove(temp) }()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := dir.Link(temp, filepath.Base(path)); err != nil {
		return err
	}
	return syncRoot(dir)
}
