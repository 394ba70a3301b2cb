package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// aged returns the path of a closed log of n events, an hour apart, of which the
// last is of now.
func aged(t *testing.T, n int, s rotate.Settings) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path, Settings: s, Now: func() time.Time { return now }})
	for i := range n {
		e := event(i)
		e.Time = now.Add(-time.Duration(n-1-i) * time.Hour)
		if err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	return path
}

// exported returns the lines of an export.
func exported(t *testing.T, path string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustVerify(t *testing.T, when, path string, s rotate.Settings) {
	t.Helper()
	if _, err := VerifyFile(t.Context(), path, s); err != nil {
		t.Errorf("%s: VerifyFile = %v", when, err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	var s rotatetest.MemStore
	path, dir := aged(t, 100, &s), t.TempDir()
	before := read(t, path)
	if err := os.Chmod(path, 0o640); err != nil { // a shipper reads it
		t.Fatal(err)
	}
	other := openLog(t, Options{Path: path, Settings: &s}) // another process
	l := openLog(t, Options{Path: path, Settings: &s, Now: func() time.Time { return now }})
	got, err := l.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root")
	if err != nil || got.Lines != 59 || got.To.Seq != 59 || filepath.Dir(got.Path) != dir {
		t.Fatalf("Prune = %+v, %v, want the first 59 lines in %s", got, err, dir)
	}
	mustVerify(t, "after it", path, &s)
	if rest := read(t, path); !bytes.HasPrefix(before, exported(t, got.Path)) ||
		!bytes.HasPrefix(rest, before[len(exported(t, got.Path)):]) {
		t.Error("the export and the log are not what the log was, want every line of it once")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the log has mode %v, %v, want the one it had", info.Mode(), err)
	}
	appendN(t, other, 100, 110)
	appendN(t, l, 110, 120)
	closeLog(t, other)
	closeLog(t, l)
	mustVerify(t, "after others went on", path, &s)
	again := openLog(t, Options{Path: path, Settings: &s, Now: func() time.Time { return now }})
	if got, err := again.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root"); err != nil || got.Lines != 0 {
		t.Errorf("Prune of what is gone = %+v, %v, want nothing", got, err)
	}
	if got, err = again.Prune(t.Context(), now.Add(time.Hour), dir, "root"); err != nil || got.From.Seq != 59 {
		t.Errorf("Prune of everything = %+v, %v, want from number 60 on", got, err)
	}
	mustVerify(t, "with nothing but the line that says so", path, &s)
	first := filepath.Join(dir, "audit-000000000001-000000000059.jsonl.gz")
	for _, c := range []struct {
		exports []string
		sound   bool
	}{{[]string{first, got.Path}, true}, {[]string{got.Path}, true}, {[]string{first}, false}, {[]string{got.Path, first}, true}} {
		if _, err := VerifyFile(t.Context(), path, &s, c.exports...); (err == nil) != c.sound {
			t.Errorf("VerifyFile with %q = %v, want sound: %v", c.exports, err, c.sound)
		}
	}
	closeLog(t, again)
	if got := actions(t, path); len(got) != 1 || got[0] != ActionPrune {
		t.Errorf("the log has %v, want what was pruned and no gap", got)
	}
}

// A log whose beginning was taken away by somebody else is not made sound by
// pruning it.
func TestPruneProvesTheLogFirst(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(lines [][]byte) [][]byte{
		"the beginning is gone": func(l [][]byte) [][]byte { return l[5:] },
		"a line is changed": func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte("u3"), []byte("u4"), 1)
			return l
		},
	} {
		var s rotatetest.MemStore
		path, dir := aged(t, 100, &s), t.TempDir()
		overwrite(t, path, bytes.Join(spoil(bytes.SplitAfter(read(t, path), []byte("\n"))), nil))
		l := openLog(t, Options{Path: path, Settings: &s})
		_, err := l.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root")
		closeLog(t, l)
		if _, verr := VerifyFile(t.Context(), path, &s); !errors.Is(err, ErrBroken) || !errors.Is(verr, ErrBroken) {
			t.Errorf("%s: Prune = %v, then VerifyFile = %v, want both to say so", name, err, verr)
		}
	}
}

// A crash at any point leaves a log that is proven, and no line is lost.
func TestPruneIsInterrupted(t *testing.T) {
	t.Parallel()
	crash := errors.New("power is gone")
	for name, rename := range map[string]func(from, to string) error{
		"before the cut": func(string, string) error { return crash },
		"after the cut":  func(from, to string) error { return errors.Join(os.Rename(from, to), crash) },
	} {
		var s rotatetest.MemStore
		path, dir := aged(t, 100, &s), t.TempDir()
		before := read(t, path)
		l := openLog(t, Options{Path: path, Settings: &s, rename: rename})
		if _, err := l.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root"); !errors.Is(err, crash) {
			t.Errorf("%s: Prune = %v, want %v", name, err, crash)
		}
		mustVerify(t, name, path, &s)
		appendN(t, l, 0, 3)
		closeLog(t, l)
		mustVerify(t, name+", after others went on", path, &s)
		l = openLog(t, Options{Path: path, Settings: &s})
		if _, err := l.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root"); err != nil {
			t.Errorf("%s: Prune again = %v", name, err)
		}
		closeLog(t, l)
		mustVerify(t, name+", after another attempt", path, &s)
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) != 1 {
			t.Fatalf("%s: exports %v, want one", name, files)
		}
		all := append(exported(t, files[0]), read(t, path)...)
		if !bytes.HasPrefix(all, before) {
			t.Errorf("%s: the export and the log do not have every line once", name)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keyrot-*")); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

// A crash may come in the midst of removing what is pruned, where that is not
// one step: the log then begins before the named end.
func TestVerifyOfAHalfPrunedLog(t *testing.T) {
	t.Parallel()
	var s rotatetest.MemStore
	path, dir := aged(t, 100, &s), t.TempDir()
	l := openLog(t, Options{Path: path, Settings: &s, rename: func(string, string) error { return io.EOF }})
	_, _ = l.Prune(t.Context(), now.Add(-40*time.Hour), dir, "root") // of which the cut fails
	closeLog(t, l)
	lines := bytes.SplitAfter(read(t, path), []byte("\n"))
	for first, sound := range map[int]bool{0: true, 1: true, 30: true, 58: true, 59: true, 60: false, 90: false} {
		overwrite(t, path, bytes.Join(lines[first:], nil))
		if _, err := VerifyFile(t.Context(), path, &s); (err == nil) != sound {
			t.Errorf("a log that begins with number %d, while 59 were exported: %v, want sound: %v", first+1, err, sound)
		}
	}
}

// What another process appends while the log is copied is in the new one.
func TestCutTakesWhatIsAppendedMeanwhile(t *testing.T) {
	t.Parallel()
	var s rotatetest.MemStore
	path := aged(t, 10, &s)
	l := openLog(t, Options{Path: path, Settings: &s})
	other := openLog(t, Options{Path: path, Settings: &s}) // another process
	tail := other.tail
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	cut := make(chan error)
	err = other.locked(t.Context(), func() error {
		go func() { cut <- l.cut(t.Context(), old, 0) }()
		for len(l.turn) == 0 { // it has copied what there is and waits for the lock
			runtime.Gosched()
		}
		line, _ := Frame(nil, tail, []byte(`{"action":"late"}`))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(line)
		return errors.Join(err, f.Close())
	})
	if err = errors.Join(err, <-cut); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 0, 1)
	closeLog(t, l)
	closeLog(t, other)
	if got := actions(t, path); got[len(got)-2] != "late" || len(got) != 12 {
		t.Errorf("the log has %v, want what was appended during the cut, and what was after it", got)
	}
	mustVerify(t, "after the cut", path, &s)
}

// Several processes append while the log is pruned again and again.
func TestPruneUnderLoad(t *testing.T) {
	t.Parallel()
	var s rotatetest.MemStore
	path, dir := aged(t, 100, &s), t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		l := openLog(t, Options{Path: path, Sync: Second, Settings: &s, LockWait: time.Minute})
		wg.Go(func() {
			for i := range 300 {
				if err := l.Append(t.Context(), event(i)); err != nil {
					t.Error(err)
				}
			}
			closeLog(t, l)
		})
	}
	l := openLog(t, Options{Path: path, Settings: &s, LockWait: time.Minute})
	lines := 0
	for range 5 {
		got, err := l.Prune(t.Context(), now.Add(time.Hour), dir, "root")
		if err != nil && !strings.Contains(err.Error(), "incomplete") { // it was read while a line was being written
			t.Error(err)
		}
		lines += got.Lines
	}
	wg.Wait()
	closeLog(t, l)
	mustVerify(t, "after it", path, &s)
	handouts := 0
	all := read(t, path)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		all = append(all, exported(t, f)...)
	}
	for line := range bytes.Lines(all) {
		if bytes.Contains(line, []byte(`"action":"handout"`)) {
			handouts++
		}
	}
	if handouts != 1000 {
		t.Errorf("the log and its exports have %d hand-outs, want 1000", handouts)
	}
}

func TestExportIsReadBack(t *testing.T) {
	t.Parallel()
	path := aged(t, 10, nil)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Export(f, t.TempDir(), "audit", Before(now))
	if err != nil || s.Lines != 9 {
		t.Fatalf("Export = %+v, %v, want 9 lines", s, err)
	}
	whole := read(t, s.Path)
	for name, b := range map[string][]byte{
		"cut off": whole[:len(whole)-20], "changed": append(append(bytes.Clone(whole[:40]), whole[40]^1), whole[41:]...), "empty": nil,
	} {
		overwrite(t, s.Path, b)
		if _, err := readBack(s.Path, s); err == nil {
			t.Errorf("an export that is %s is taken for whole", name)
		}
	}
	overwrite(t, s.Path, whole)
	more := s
	more.To.Seq++
	if _, err := readBack(s.Path, more); err == nil {
		t.Error("an export that lacks a line is taken for whole")
	}
	if got, err := parseSegment(s.Reason()); err != nil || got.To != s.To || got.SHA256 != s.SHA256 {
		t.Errorf("parseSegment(%q) = %+v, %v", s.Reason(), got, err)
	}
	if _, err := Export(bytes.NewReader(nil), filepath.Join(t.TempDir(), "missing"), "audit", Before(now)); err == nil {
		t.Error("Export to a folder that is not there succeeded")
	}
}

// While the disk hangs, callers come and leave: what waits does not grow.
func TestWhatWaitsForTheDiskIsBounded(t *testing.T) {
	t.Parallel()
	path := written(t, 1, nil)
	l := openLog(t, Options{Path: path})
	l.turn <- struct{}{} // the disk hangs
	big := event(0)
	big.Reason = strings.Repeat("x", 100_000)
	event, err := json.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // callers that join and leave
		if _, _, err := l.join(event); err != nil {
			t.Fatal(err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- l.Append(ctx, big) }()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Append of a caller that leaves = %v", err)
	}
	l.mu.Lock()
	size, n := l.joining.size, len(l.joining.events)
	l.mu.Unlock()
	if size > maxBatch || n > 20 {
		t.Errorf("%d bytes of %d events wait, want at most %d", size, n, maxBatch)
	}
	<-l.turn
	if err := l.Append(t.Context(), rotate.Event{Time: now, Action: "after"}); err != nil {
		t.Errorf("Append afterwards = %v", err)
	}
	closeLog(t, l)
	mustVerify(t, "afterwards", path, nil)
}

func BenchmarkVerify(b *testing.B) {
	raw := many(100_000)
	for name, f := range map[string]func() error{
		"verify": func() error { _, err := VerifyLog(bytes.NewReader(raw)); return err },
		"floor":  func() error { return decodeAll(raw) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// many is a log of n lines as a rotation and its hand-outs make them.
func many(n int) (raw []byte) {
	var tail Tail
	for i := range n {
		raw, tail = Frame(raw, tail, fmt.Appendf(nil, `{"time":"2026-11-23T18:00:00.123456789Z","action":"handout","user":"mailer-%05d",`+
			`"user_id":"AIDAQ3EGRWDXAMPLE%05d","key":"AKIAIOSFODNN7EXAMPLE","caller":"kr_9f2c41d7","addr":"10.20.30.%d","actor":"host/4711","result":"ok"}`,
			i%5000, i%5000, i%256))
	}
	return raw
}

// decodeAll does what a verification cannot do without, by the means of the
// standard library: decode each line and hash it.
func decodeAll(raw []byte) error {
	for line := range bytes.Lines(raw) {
		var l Line
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if sum := sha256.Sum256(line); sum == ([32]byte{}) {
			return ErrBroken
		}
	}
	return nil
}
