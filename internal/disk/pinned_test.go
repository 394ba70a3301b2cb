package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file with two names stands for all that hold on to a file: test/e2e has
// mounts, which need rights.
func TestOverwrite(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir, err := OpenDir(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	content := func(text string) Content { return Content{Text: []byte(text), Mode: 0o640, UID: -1, GID: -1} }
	if err := Overwrite(dir, "file", content("a text that is long")); err != nil {
		t.Fatalf("Overwrite of a missing file = %v", err)
	}
	if why := Pinned(dir, "file"); why != "" {
		t.Errorf("Pinned = %q, want nothing", why)
	}
	if err := os.Link(filepath.Join(path, "file"), filepath.Join(path, "other")); err != nil {
		t.Fatal(err)
	}
	if why := Pinned(dir, "file"); !strings.Contains(why, "2 names") {
		t.Errorf("Pinned = %q, want 2 names", why)
	}
	for _, text := range []string{"short", "longer than it was before", ""} {
		if err := Overwrite(dir, "file", content(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(path, "other")); err != nil || string(got) != text {
			t.Errorf("by its other name it holds %q, %v, want %q", got, err, text)
		}
	}
	if info, err := dir.Stat("other"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v, %v, want 0640", info.Mode(), err)
	}
	stopped := content("never")
	stopped.Unless = func() error { return fs.ErrInvalid }
	if err := Overwrite(dir, "file", stopped); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Overwrite unless = %v", err)
	}
	foreign := content("never")
	foreign.UID = os.Geteuid() + 1
	for what, err := range map[string]error{
		"Overwrite": Overwrite(dir, "file", foreign), "Overwritable": Overwritable(dir, "file", foreign.UID),
	} {
		if err == nil || !strings.Contains(err.Error(), "belongs to user") {
			t.Errorf("%s of another user's file = %v, want a refusal", what, err)
		}
	}
	for _, name := range []string{"file", "missing"} {
		if err := Overwritable(dir, name, -1); err != nil {
			t.Errorf("Overwritable(%q) = %v", name, err)
		}
	}
	if err := os.Symlink("other", filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "."} {
		if err := Overwrite(dir, name, content("never")); err == nil {
			t.Errorf("Overwrite(%q) = nil, want a refusal", name)
		}
		if why := Pinned(dir, name); why != "" {
			t.Errorf("Pinned(%q) = %q, want nothing", name, why)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(path, "other")); len(got) > 0 {
		t.Errorf("the file holds %q, want nothing", got)
	}
}
