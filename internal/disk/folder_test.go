//go:build unix

package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyrot/keyrot/internal/trust"
)

// open makes a folder that others could get at.
func open(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mkdir(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// somebody is a user id that is neither root's nor this user's.
const somebody = 0x7ffffff0

func TestOpenDir(t *testing.T) {
	t.Parallel()
	top := open(t)
	mkdir(t, top+"/ours", 0o755)
	mkdir(t, top+"/theirs", 0o777)
	mkdir(t, top+"/theirs/below", 0o755)
	mkdir(t, top+"/sticky", 0o777|fs.ModeSticky)
	for link, target := range map[string]string{"/link": "ours", "/theirs/link": "../ours", "/sticky/link": top + "/ours"} {
		if err := os.Symlink(target, top+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name, path string
		create     bool
		want       error // nil: opens; errUntrusted or another
	}{
		{"a folder of ours", "/ours", false, nil},
		{"one that is missing", "/ours/new", false, fs.ErrNotExist},
		{"one that is missing and is made", "/ours/new/deep", true, nil},
		{"our link to it", "/link", false, nil},
		{"our link in a sticky folder", "/sticky/link", false, nil},
		{"a folder that others can write", "/theirs", false, errUntrusted},
		{"a folder below one", "/theirs/below", false, errUntrusted},
		{"a folder to be made in one", "/theirs/new", true, errUntrusted},
		{"a link in one", "/theirs/link", false, errUntrusted},
		{"nothing in a sticky folder", "/sticky/new", true, nil},
	} {
		dir, err := OpenDir(top+tc.path, tc.create)
		var untrusted *trust.Error
		switch {
		case tc.want == nil && err != nil,
			errors.Is(tc.want, errUntrusted) && !errors.As(err, &untrusted),
			tc.want != nil && !errors.Is(tc.want, errUntrusted) && !errors.Is(err, tc.want):
			t.Errorf("%s: OpenDir = %v, want %v", tc.name, err, tc.want)
		}
		if err == nil {
			_ = dir.Close()
		}
	}
	if _, err := os.Stat(top + "/theirs/new"); err == nil {
		t.Error("a folder was made where others can write")
	}
}

var errUntrusted = errors.New("others can change it")

// Folders of a file's owner may be written into, but their links lead nowhere.
func TestDescend(t *testing.T) {
	t.Parallel()
	top := open(t)
	mkdir(t, top+"/home", 0o700)
	mkdir(t, top+"/home/keys", 0o700)
	mkdir(t, top+"/home/wide", 0o770)
	mkdir(t, top+"/etc", 0o755)
	if err := os.Symlink(top+"/etc", top+"/home/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("keys", top+"/home/near"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"home/keys": "", "home": "", "home/link": "no link is followed", "home/near": "no link is followed",
		"home/wide": "has mode 0770", "home/none": "no such file", "home/link/x": "no link is followed",
	} {
		root, err := os.OpenRoot(top)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := descend(root, top, path, false, []int{somebody})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("descend into %s = %v, want %q", path, err, want)
		}
		if err == nil {
			_ = dir.Close()
		}
	}
}

// TestOpenDirWhileItIsReplaced: somebody swaps a folder for a link, again and
// again, while it is opened to write into: what is behind the link is never
// opened.
func TestOpenDirWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	top := open(t)
	mkdir(t, top+"/victim", 0o755)
	mkdir(t, top+"/keys", 0o700)
	if err := os.Symlink("victim", top+"/swap"); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	defer func() { close(stop); <-done }()
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Rename(top+"/keys", top+"/aside")
				_ = os.Rename(top+"/swap", top+"/keys")
				_ = os.Rename(top+"/keys", top+"/swap")
				_ = os.Rename(top+"/aside", top+"/keys")
			}
		}
	}()
	behind, err := os.Stat(top + "/victim")
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for range 30_000 {
		root, err := os.OpenRoot(top)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := descend(root, top, "keys", false, []int{somebody})
		if err != nil {
			continue
		}
		if info, err := dir.Stat("."); err != nil || os.SameFile(info, behind) {
			t.Fatalf("the folder behind the link was opened (%v)", err)
		}
		opened++
		_ = dir.Close()
	}
	if opened == 0 {
		t.Error("the folder was never opened")
	}
}

func TestReplaceAndSame(t *testing.T) {
	t.Parallel()
	top := open(t)
	dir, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := Content{Text: []byte("text"), Mode: 0o640, UID: -1, GID: -1}
	for name, make := range map[string]func() error{
		"a link":            func() error { return os.Symlink(outside, top+"/f") },
		"a pipe":            func() error { return syscall.Mkfifo(top+"/f", 0o600) },
		"nothing":           func() error { return nil },
		"another text":      func() error { return os.WriteFile(top+"/f", []byte("tent"), 0o600) },
		"a shorter text":    func() error { return os.WriteFile(top+"/f", nil, 0o600) },
		"a folder's inside": func() error { return os.Symlink(".", top+"/f") },
	} {
		_ = os.Remove(top + "/f")
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if Same(dir, "f", c) {
			t.Errorf("%s: Same = true", name)
		}
		if err := Replace(dir, "f", c); err != nil {
			t.Errorf("%s: Replace = %v", name, err)
		}
		info, err := os.Lstat(top + "/f")
		if err != nil || info.Mode() != 0o640 || !Same(dir, "f", c) {
			t.Errorf("%s: the file is %v, %v, want it replaced", name, info, err)
		}
	}
	stopped := errors.New("stop")
	c.Text, c.Unless = []byte("more"), func() error { return stopped }
	if err := Replace(dir, "f", c); !errors.Is(err, stopped) {
		t.Errorf("Replace = %v, want %v", err, stopped)
	}
	raw, _ := os.ReadFile(outside)
	info, _ := os.Stat(outside)
	if !bytes.Equal(raw, []byte("text")) || info.Mode() != 0o644 {
		t.Errorf("what a link led to holds %q with mode %v, want it left alone", raw, info.Mode())
	}
	if names, _ := filepath.Glob(top + "/.keyrot-*"); len(names) > 0 {
		t.Errorf("left behind %v", names)
	}
}

func TestAlone(t *testing.T) {
	t.Parallel()
	own, shared := t.TempDir(), filepath.Join(t.TempDir(), "shared")
	if err := errors.Join(os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777|fs.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(own, "f"), filepath.Join(shared, "f")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(filepath.Join(shared, "f"), filepath.Join(own, "l")), os.Symlink(filepath.Join(own, "f"), filepath.Join(shared, "l"))); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		filepath.Join(own, "f"): true, filepath.Join(shared, "f"): false, // where it is
		filepath.Join(own, "l"): false, filepath.Join(shared, "l"): false, // where it seems to be, and is
	} {
		if err := Alone(path); (err == nil) != want {
			t.Errorf("Alone(%s) = %v", path, err)
		}
	}
}
