package audit

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// moveAway does what logrotate does: the files before move on by one number, the
// second and older ones are compressed, and a new file is there or not.
func moveAway(t *testing.T, path string, create bool) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(path + ".1"); err == nil {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(raw)
		must(errors.Join(err, z.Close(), os.WriteFile(path+".2.gz", b.Bytes(), 0o600), os.Remove(path+".1")))
	}
	must(os.Rename(path, path+".1"))
	if create {
		must(os.WriteFile(path, nil, 0o600))
	}
}

// TestALogThatIsRotated moves the log away under a process that goes on and
// between ones that come and go, as cron jobs do.
func TestALogThatIsRotated(t *testing.T) {
	t.Parallel()
	for _, create := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.jsonl")
		var s rotatetest.MemStore
		stays := openLog(t, Options{Path: path, Settings: &s})
		appendN(t, stays, 0, 44)
		for range 2 {
			moveAway(t, path, create)
			appendN(t, stays, 44, 47)
		}
		closeLog(t, stays)
		moveAway(t, path, create) // only .1 and .2.gz are kept: the beginning is gone
		if err := os.Rename(path+".1", path+"-20260301"); err != nil {
			t.Fatal(err)
		}
		comes := openLog(t, Options{Path: path, Settings: &s})
		appendN(t, comes, 50, 55)
		closeLog(t, comes)
		for _, a := range actions(t, path) {
			if a == ActionGap {
				t.Errorf("create %v: a log that was moved away is recorded as a gap", create)
			}
		}
		_, err := VerifyFile(t.Context(), path, &s)
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "has number 45") {
			t.Errorf("create %v: VerifyFile without the oldest file = %v, want that it begins with number 45", create, err)
		}
	}
}

// TestFilesOfALog: what log rotation leaves beside the log is read with it, in
// whichever order and form it is given.
func TestFilesOfALog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var s rotatetest.MemStore
	l := openLog(t, Options{Path: path, Settings: &s})
	appendN(t, l, 0, 44)
	moveAway(t, path, true)
	appendN(t, l, 44, 50)
	moveAway(t, path, true)
	appendN(t, l, 50, 55)
	closeLog(t, l)
	for _, others := range [][]string{nil, {path + ".1", path + ".2.gz"}, {path + ".2.gz", path + ".1"}} {
		if end, err := VerifyFile(t.Context(), path, &s, others...); err != nil || end.Seq != 55 {
			t.Errorf("VerifyFile with %q = %d, %v, want 55", others, end.Seq, err)
		}
	}
	names, err := Rotated(path)
	if err != nil || len(names) != 2 {
		t.Errorf("Rotated = %q, %v, want two", names, err)
	}
	files, err := OpenFiles(t.Context(), path, names...)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for l, err := range files.Lines() {
		if n++; err != nil || l.Seq != uint64(n) {
			t.Fatalf("line %d of all files = %d, %v", n, l.Seq, err)
		}
	}
	if err := files.Close(); err != nil || n != 55 {
		t.Errorf("all files have %d lines, %v, want 55", n, err)
	}
	if _, err := VerifyFile(t.Context(), path, &s, path+".1"); !errors.Is(err, ErrBroken) {
		t.Errorf("VerifyFile without the oldest = %v, want %v", err, ErrBroken)
	}
	if err := os.WriteFile(path+".3.xz", []byte("\xfd7zXZ\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyFile(t.Context(), path, &s, path+".3.xz"); err == nil || !strings.Contains(err.Error(), ".3.xz does not begin with a line") {
		t.Errorf("VerifyFile with xz = %v, want the file named", err)
	}
	if raw, err := os.ReadFile(path + ".1"); err != nil || os.WriteFile(path+".1", bytes.Replace(raw, []byte("u"), []byte("v"), 1), 0o600) != nil {
		t.Fatal(err)
	}
	if _, err := VerifyFile(t.Context(), path, &s); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), ".1: line 1:") {
		t.Errorf("VerifyFile of a changed file = %v, want file and line named", err)
	}
}

// TestTheNewestFileIsGone: what was moved away does not excuse what is missing.
func TestTheNewestFileIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var s rotatetest.MemStore
	l := openLog(t, Options{Path: path, Settings: &s})
	appendN(t, l, 0, 5)
	moveAway(t, path, true)
	appendN(t, l, 5, 10)
	closeLog(t, l)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, Options{Path: path, Settings: &s})
	closeLog(t, l)
	if got := actions(t, path); len(got) != 1 || got[0] != ActionGap {
		t.Errorf("a log whose newest file was removed begins with %v, want %s", got, ActionGap)
	}
}
