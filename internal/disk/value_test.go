package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// valueOf is a Value of a file that must not be empty, and what it warns of.
func valueOf(path string) (*Value[string], *bytes.Buffer) {
	var log bytes.Buffer
	return &Value[string]{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil)), Read: func() (string, error) {
		raw, err := os.ReadFile(path)
		if err == nil && len(raw) == 0 {
			err = errors.New("it is empty")
		}
		return string(raw), err
	}}, &log
}

func TestValueFollowsItsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, log := valueOf(path)
	want := func(what, text string, warnings int) {
		t.Helper()
		if got, err := v.Get(); got != text || err != nil {
			t.Errorf("%s: Get() = %q, %v, want %q", what, got, err, text)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != warnings {
			t.Errorf("%s: %d warnings, want %d: %s", what, n, warnings, log)
		}
	}
	if got, err := v.Get(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get() = %q, %v, want the error of a file that is not there", got, err)
	}
	write("key", "one")
	want("it appears", "one", 0)
	write("key", "two")
	want("it is written in place, with the same size at the same instant", "two", 0)
	write("key", "")
	want("it is empty", "two", 1)
	want("it is still empty", "two", 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("it is gone", "two", 2)
	// As Kubernetes mounts a secret: the file is a link through a link to a
	// folder, and the latter is swapped.
	for _, n := range []string{"3", "4"} {
		if err := os.Mkdir(filepath.Join(dir, "v"+n), 0o700); err != nil {
			t.Fatal(err)
		}
		write("v"+n+"/key", n)
	}
	link := func(to string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "data"))); err != nil {
			t.Fatal(err)
		}
	}
	link("v3")
	if err := os.Symlink("data/key", path); err != nil {
		t.Fatal(err)
	}
	want("it is a link", "3", 2)
	link("v4")
	want("the link is swapped", "4", 2)
}
