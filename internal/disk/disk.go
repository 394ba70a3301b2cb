// Package disk holds what every file with something private in it needs: a
// check of its mode, and a directory that is as durable as the file.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keyrot/keyrot/internal/hint"
)

// ErrExposed: a private file's mode lets others at it.
var ErrExposed = errors.New("can be read or changed by others")

// Private refuses a file that is not regular or that others than its owner
// can read or change.
func Private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	// Windows has no such mode bits; there the directory's ACL protects it.
	if m := info.Mode().Perm(); m&0o077 != 0 && runtime.GOOS != "windows" {
		return hint.Wrap(fmt.Errorf("%s %w (mode %04o)", path, ErrExposed, m), "chmod 600 "+path)
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Create makes a file of mode 0600 with the content, durably, and the
// directory if it is missing. The file appears whole, for one of several
// processes only, and never in place of another one: then the error is
// fs.ErrExist.
func Create(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".keyrot-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}
