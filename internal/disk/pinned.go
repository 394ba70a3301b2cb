package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Overwrite writes into the file of that name, durably, and makes it if it is
// missing. Unlike after [Replace], all who have the file by other means than its
// name see the new content: a container in which it is mounted by itself, another
// hard link. A reader that comes meanwhile can see half of it.
//
// The file must belong to c.UID (-1: this process's user): whoever may change
// the folder could have put a link to somebody else's file there. A symbolic
// link is not followed.
func Overwrite(dir *os.Root, name string, c Content) error {
	f, err := openExisting(dir, name, c.UID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Replace(dir, name, c)
	case err != nil:
		return err
	}
	return errors.Join(overwrite(f, c), f.Close())
}

// Overwritable reports what would keep [Overwrite] from writing the file of that
// name, which belongs to uid (-1: this process's user).
func Overwritable(dir *os.Root, name string, uid int) error {
	f, err := openExisting(dir, name, uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Writable(dir)
	case err != nil:
		return err
	}
	return f.Close()
}

// openExisting opens a regular file of uid to write into it.
func openExisting(dir *os.Root, name string, uid int) (*os.File, error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := dir.OpenFile(name, os.O_WRONLY|noWait, 0)
	if err != nil {
		return nil, err
	}
	if uid < 0 {
		uid = os.Geteuid()
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%s was replaced just now", name)
	}
	if err == nil {
		if owner, _ := ownerOf(opened); owner != uid {
			err = fmt.Errorf("%s belongs to user %d, not to user %d, and is not written in place", name, owner, uid)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func overwrite(f *os.File, c Content) error {
	if err := Fit(f, c); err != nil { // before there is a secret in it
		return err
	}
	if c.Unless != nil {
		if err := c.Unless(); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(c.Text, 0); err != nil { // no truncation first: an empty file is the worst that readers can get
		return err
	}
	return errors.Join(f.Truncate(int64(len(c.Text))), f.Sync())
}

// Pinned says why not all readers of the file of that name would see one that
// takes its place ([Replace]), or why none can: it is a mount of its own, it is
// mounted by itself elsewhere, as in a container, it has other hard links. "" if
// nothing of it is known. Mounts are found on Linux, and those of other
// namespaces if this process sees the processes in them.
func Pinned(dir *os.Root, name string) string {
	info, err := dir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return "" // a link is replaced itself
	}
	if why := mounted(dir, name); why != "" {
		return why
	}
	if n := linksOf(info); n > 1 {
		return fmt.Sprintf("has %d names (hard links)", n)
	}
	return ""
}
