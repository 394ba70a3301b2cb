package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "file")
	if err := Create(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file = %v, want %v", err, fs.ErrExist)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("the directory holds %v, %v", names, err)
	}
	if err := Create(filepath.Join(path, "below"), nil); err == nil {
		t.Error("Create below a file succeeded")
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, nil); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o602: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := Private(path, info); (err == nil) != ok {
			t.Errorf("Private with mode %04o = %v", mode, err)
		}
	}
}

func TestReadTrustedHasAnEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, []byte("users:")); err != nil {
		t.Fatal(err)
	}
	if raw, err := ReadTrusted(path); err != nil || string(raw) != "users:" {
		t.Errorf("ReadTrusted = %q, %v", raw, err)
	}
	for size, ok := range map[int64]bool{maxTrusted: true, maxTrusted + 1: false, 1 << 30: false} {
		if err := os.Truncate(path, size); err != nil { // it takes no room
			t.Fatal(err)
		}
		if _, err := ReadTrusted(path); (err == nil) != ok {
			t.Errorf("ReadTrusted of %d bytes = %v", size, err)
		}
	}
}
