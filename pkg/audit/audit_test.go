package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

var now = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func event(i int) rotate.Event {
	return rotate.Event{Time: now, Action: "handout", User: fmt.Sprintf("u%d", i), Key: "AKIA1", Caller: "ci", Result: "a \"quoted\"\nline"}
}

func openLog(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func appendN(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Append(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// written returns the path of a closed log of n events.
func written(t testing.TB, n int, s rotate.Settings) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path, Settings: s})
	appendN(t, l, 0, n)
	closeLog(t, l)
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func actions(t testing.TB, path string) (out []string) {
	t.Helper()
	for l, err := range Lines(bytes.NewReader(read(t, path))) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l.Action)
	}
	return out
}

func TestAppend(t *testing.T) {
	t.Parallel()
	for _, mode := range []Sync{Always, Second} {
		var s rotatetest.MemStore
		path := filepath.Join(t.TempDir(), "new", "audit.log")
		o := Options{Path: path, Sync: mode, Settings: &s}
		l := openLog(t, o)
		const workers, rounds = 16, 20
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() { appendN(t, l, w*rounds, (w+1)*rounds) })
		}
		wg.Wait()
		closeLog(t, l)
		again := openLog(t, o)
		appendN(t, again, workers*rounds, workers*rounds+1)
		closeLog(t, again)

		end, err := VerifyFile(t.Context(), path, &s)
		if err != nil || end.Seq != workers*rounds+1 {
			t.Errorf("%s: VerifyFile = %d, %v, want %d", mode, end.Seq, err, workers*rounds+1)
		}
		for _, anchor := range []func() (Tail, error){
			func() (Tail, error) { return ReadTail(path) },
			func() (Tail, error) { a, _, err := StoredTail(t.Context(), &s); return a, err },
		} {
			if got, err := anchor(); err != nil || got != end {
				t.Errorf("%s: anchor %v, %v, want %v", mode, got, err, end)
			}
		}
		seen := make(map[string]int)
		for line, err := range Lines(bytes.NewReader(read(t, path))) {
			if err != nil {
				t.Fatal(err)
			}
			seen[line.User]++
			if want := event(0).Result; line.Result != want || !line.Time.Equal(now) {
				t.Errorf("%s: line %d came back as %+v", mode, line.Seq, line.Event)
			}
		}
		if len(seen) != workers*rounds+1 {
			t.Errorf("%s: %d different events, want %d", mode, len(seen), workers*rounds+1)
		}
		for _, p := range []string{path, path + ".tail", path + ".lock"} {
			if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, want mode 0600", filepath.Base(p), err)
			}
		}
	}
}

func TestAppendRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path})
	big := event(0)
	big.Result = strings.Repeat("x", maxLine)
	if err := l.Append(t.Context(), big); err == nil {
		t.Error("an event longer than a line may be was accepted")
	}
	old := event(0)
	old.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := l.Append(t.Context(), old); err == nil {
		t.Error("an event that JSON cannot express was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, event(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with a cancelled context = %v", err)
	}
	closeLog(t, l)
	if err := l.Append(t.Context(), event(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close = %v, want %v", err, ErrClosed)
	}
	if err := l.Close(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close = %v, want %v", err, ErrClosed)
	}
	if b := read(t, path); len(b) != 0 {
		t.Errorf("refused events left %q", b)
	}
	if _, err := Open(t.Context(), Options{Path: path, Sync: "never"}); err == nil {
		t.Error("an unknown sync mode was accepted")
	}
	if _, err := Open(t.Context(), Options{Path: t.TempDir()}); err == nil {
		t.Error("a directory was accepted")
	}
	if err := os.Chmod(path, 0o622); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: path}); err == nil || !strings.Contains(err.Error(), "0622") {
		t.Errorf("Open of a log that others can write = %v", err)
	}
}

// TestFailedWrite checks that nothing is acknowledged that is not written,
// and that the log goes on once writing works again.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path, Sync: Second})
	appendN(t, l, 0, 1)
	good := l.file
	unwritable, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	l.file = unwritable
	if err := l.Append(t.Context(), event(1)); err == nil {
		t.Error("Append to an unwritable file succeeded")
	}
	l.file = good
	if err := unwritable.Close(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 2, 3)
	closeLog(t, l)
	if end, err := VerifyFile(t.Context(), path, nil); err != nil || end.Seq != 2 {
		t.Errorf("VerifyFile = %d, %v, want 2", end.Seq, err)
	}
}

// rewritten is a log of as many events whose every hash fits.
func rewritten(n int) (out []byte) {
	var tail Tail
	for range n {
		out, tail = Frame(out, tail, []byte(`{"action":"forged"}`))
	}
	return out
}

func TestOpenSaysWhatItFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(b []byte) []byte
		want   []string // actions after the third event, before the next one
		breaks bool     // whether verification must fail from then on
	}{
		"sound":              {func(b []byte) []byte { return b }, nil, false},
		"torn last line":     {func(b []byte) []byte { return append(b, `{"seq":4,"pr`...) }, []string{ActionRepair}, false},
		"last newline gone":  {func(b []byte) []byte { return b[:len(b)-1] }, []string{ActionRepair, ActionGap}, true},
		"end cut off":        {func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] }, []string{ActionGap}, true},
		"emptied":            {func([]byte) []byte { return nil }, []string{ActionGap}, true},
		"rewritten":          {func([]byte) []byte { return rewritten(3) }, []string{ActionGap}, true},
		"rewritten, longer":  {func([]byte) []byte { return rewritten(2000) }, []string{ActionGap}, true},
		"rewritten, shorter": {func([]byte) []byte { return rewritten(2) }, []string{ActionGap}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s rotatetest.MemStore
			path := written(t, 3, &s)
			overwrite(t, path, c.spoil(read(t, path)))
			if err := os.Remove(tailPath(path)); err != nil { // the store's anchor is enough
				t.Fatal(err)
			}
			l := openLog(t, Options{Path: path, Settings: &s})
			appendN(t, l, 3, 4)
			closeLog(t, l)
			got := actions(t, path)
			tail := got[len(got)-1-len(c.want):]
			if want := append(slices.Clone(c.want), "handout"); !slices.Equal(tail, want) {
				t.Errorf("log ends with %v, want %v", tail, want)
			}
			if _, err := VerifyFile(t.Context(), path, &s); errors.Is(err, ErrBroken) != c.breaks {
				t.Errorf("VerifyFile = %v, want broken: %v", err, c.breaks)
			}
		})
	}
}

func TestUnreadableLastLine(t *testing.T) {
	t.Parallel()
	path := written(t, 2, nil)
	overwrite(t, path, append(read(t, path), "garbage\n"...))
	l := openLog(t, Options{Path: path})
	appendN(t, l, 2, 3)
	closeLog(t, l)
	if _, err := VerifyFile(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "line 3:") {
		t.Errorf("VerifyFile = %v, want line 3 named", err)
	}
}

func TestUnreadableAnchorIsTold(t *testing.T) {
	t.Parallel()
	path := written(t, 2, nil)
	overwrite(t, tailPath(path), []byte("garbage"))
	if _, err := VerifyFile(t.Context(), path, nil); err == nil {
		t.Error("VerifyFile with an unreadable anchor succeeded")
	}
	closeLog(t, openLog(t, Options{Path: path}))
	if got := actions(t, path); got[len(got)-1] != ActionGap {
		t.Errorf("log ends with %v, want %s", got, ActionGap)
	}
	if _, err := VerifyFile(t.Context(), path, nil); err != nil {
		t.Errorf("VerifyFile after the repair = %v", err)
	}
}

func TestUnreachableStore(t *testing.T) {
	t.Parallel()
	fault := errors.New("fault")
	var s rotatetest.MemStore
	path := written(t, 1, &s)
	s.Before = func(string, string) error { return fault }
	if _, err := Open(t.Context(), Options{Path: path, Settings: &s}); !errors.Is(err, fault) {
		t.Errorf("Open = %v, want %v", err, fault)
	}
	if _, err := VerifyFile(t.Context(), path, &s); !errors.Is(err, fault) {
		t.Errorf("VerifyFile = %v, want %v", err, fault)
	}
}

// TestMovedAway checks that a log that is archived while it is open goes on in
// a new file, with the same chain.
func TestMovedAway(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path})
	appendN(t, l, 0, 3)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 3, 5)
	closeLog(t, l)
	end, err := VerifyBetween(bytes.NewReader(read(t, path+".1")), Tail{}, Tail{})
	if err != nil || end.Seq != 3 {
		t.Fatalf("first file: %d, %v", end.Seq, err)
	}
	if end, err = VerifyBetween(bytes.NewReader(read(t, path)), end, Tail{}); err != nil || end.Seq != 5 {
		t.Errorf("second file: %d, %v", end.Seq, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Sync{Second, Always} {
		b.Run(string(mode), func(b *testing.B) {
			l := openLog(b, Options{Path: filepath.Join(b.TempDir(), "audit.log"), Sync: mode})
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Append(b.Context(), event(1)); err != nil {
						b.Error(err)
					}
				}
			})
			closeLog(b, l)
		})
	}
}
