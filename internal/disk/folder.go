package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/trust"
)

// OpenDir opens a folder to write into, making what is missing of it with mode
// 0700 if create says so. Whoever could change the path could have the file
// written elsewhere, so a path is refused that anybody can change but root, this
// user and the owners (user ids). Below the first folder that is not only root's
// and this user's no symbolic link is followed.
func OpenDir(path string, create bool, owners ...int) (*os.Root, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The upper part, that only root and this user can change, may be opened by
	// its name; of the rest each folder is judged when it is open.
	top, dir, why := path, (*os.Root)(nil), error(nil)
	for {
		err := Trusted(top)
		if err == nil {
			dir, err = os.OpenRoot(top)
		}
		if why == nil {
			why = err
		}
		untrusted := (*trust.Error)(nil)
		switch {
		case err == nil:
			return descend(dir, top, strings.TrimPrefix(path[len(top):], string(filepath.Separator)), create, owners)
		case top == filepath.Dir(top), errors.As(err, &untrusted) && len(owners) == 0, untrusted == nil && !errors.Is(err, fs.ErrNotExist):
			return nil, why
		}
		top = filepath.Dir(top)
	}
}

// descend opens the folder rest, which is below dir, and closes dir.
func descend(dir *os.Root, at, rest string, create bool, owners []int) (*os.Root, error) {
	for name := range strings.SplitSeq(rest, string(filepath.Separator)) {
		if name == "" {
			break
		}
		at = filepath.Join(at, name)
		next, err := enter(dir, name, at, create, owners)
		if err = errors.Join(err, dir.Close()); err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

func enter(dir *os.Root, name, path string, create bool, owners []int) (*os.Root, error) {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err = dir.Mkdir(name, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			info, err = dir.Lstat(name)
		}
	}
	switch {
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)}
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a folder; no link is followed here, because others can change it", path)
	}
	next, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := next.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%s was replaced just now", path)
	}
	if err == nil {
		err = judge(path, opened, owners)
	}
	if err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// judge refuses a folder that others than root, this user and the owners can change.
func judge(path string, info fs.FileInfo, owners []int) error {
	owner, group := ownerOf(info)
	e := trust.Entry{Owner: owner, Group: group, Mode: uint32(info.Mode().Perm()), Dir: true, Sticky: info.Mode()&fs.ModeSticky != 0}
	why, fix := trust.Judge(path, e, slices.Concat([]int{0, os.Geteuid()}, owners)...)
	if why == "" {
		return nil
	}
	return &trust.Error{Path: path, Why: []string{why}, Fix: []string{fix}}
}

// Alone refuses a file in whose folder others can make files, be it one such as
// /tmp where they cannot touch those of others: the journal of a database, say,
// is believed because of its name.
func Alone(path string) error {
	dirs := []string{filepath.Dir(path)}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		dirs = append(dirs, filepath.Dir(real))
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		owner, group := ownerOf(info)
		e := trust.Entry{Owner: owner, Group: group, Mode: uint32(info.Mode().Perm()), Dir: true}
		if why, _ := trust.Judge(dir, e, 0, os.Geteuid()); why != "" && info.Mode()&fs.ModeSticky != 0 {
			why += ", so that others can put files beside it"
			return &trust.Error{Path: path, Why: []string{why}, Fix: []string{""}} // not "chmod go-w /tmp"
		}
	}
	return nil
}

// Content is what [Replace] writes.
type Content struct {
	Text     []byte
	Mode     fs.FileMode
	UID, GID int // -1: as it is
	// Unless stops the file from being replaced. It is called last. nil: nothing does.
	Unless func() error
}

// Replace puts a new file in the place of the one of that name, durably: readers
// see the old content or the new one. A symbolic link is replaced, not followed.
func Replace(dir *os.Root, name string, c Content) error {
	f, err := temporary(dir)
	if err != nil {
		return err
	}
	temp := filepath.Base(f.Name())
	defer func() { _ = dir.Remove(temp) }() // gone already unless something fails
	_, err = f.Write(c.Text)
	if err == nil {
		err = Fit(f, c)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && c.Unless != nil {
		err = c.Unless()
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		return err
	}
	return syncRoot(dir)
}

// Same reports whether the file of that name holds the content, and gives it its
// mode and owner then. It is not opened unless it is a regular file.
func Same(dir *os.Root, name string, c Content) bool {
	info, err := dir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(c.Text)) {
		return false
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil || !os.SameFile(info, opened) {
		return false
	}
	got := make([]byte, len(c.Text))
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != string(c.Text) {
		return false
	}
	return Fit(f, c) == nil && syncRoot(dir) == nil // a crash may have come before it
}

// Like returns the mode and the owner of a file, for [Fit].
func Like(info fs.FileInfo) Content {
	c := Content{Mode: info.Mode().Perm()}
	c.UID, c.GID = ownerOf(info)
	return c
}

// Fit gives an open file its mode and owner.
func Fit(f *os.File, c Content) error {
	if c.UID >= 0 || c.GID >= 0 {
		if err := f.Chown(c.UID, c.GID); err != nil {
			return err
		}
	}
	return f.Chmod(c.Mode)
}

// temporary makes a file of mode 0600 under a name that nobody knows.
func temporary(dir *os.Root) (*os.File, error) {
	return dir.OpenFile(".keyrot-"+rand.Text()[:12], os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// Writable reports why no file can be made in the folder.
func Writable(dir *os.Root) error {
	f, err := temporary(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), dir.Remove(filepath.Base(f.Name())))
}

func syncRoot(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncDir(d), d.Close())
}
