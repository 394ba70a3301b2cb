package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// failingDisk opens files whose Sync fails while it is failing. As some file
// systems do, it then forgets what was written since the last good Sync.
type failingDisk struct {
	failing atomic.Bool
	forgets bool
}

func (d *failingDisk) open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return &failingFile{File: f, disk: d, good: info.Size()}, err
}

type failingFile struct {
	*os.File
	disk *failingDisk
	good int64 // bytes that are synced
}

func (f *failingFile) Sync() error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !f.disk.failing.Load() {
		f.good = info.Size()
		return f.File.Sync()
	}
	if lost := info.Size() - f.good; f.disk.forgets && lost > 0 {
		raw, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = raw.WriteAt(make([]byte, lost), f.good)
		return errors.Join(syscall.EIO, err, raw.Close())
	}
	return syscall.EIO
}

// users returns whose hand-outs the log has, in order.
func users(t *testing.T, path string) (out []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for l, err := range Lines(f) {
		if err != nil {
			t.Fatal(err)
		}
		if l.User != "" {
			out = append(out, l.User)
		}
	}
	return out
}

// A disk that fails once, or for a while, stops the log for that while and no
// longer. What was acknowledged is there afterwards, what was not is not.
func TestAFailedSyncIsHealed(t *testing.T) {
	for name, c := range map[string]struct {
		mode    Sync
		forgets bool
		lasts   time.Duration
	}{
		"every line is synced, the disk fails once":                   {Always, false, 0},
		"every line is synced, the disk fails for a minute":           {Always, true, time.Minute},
		"synced every second, the disk fails once":                    {Second, false, 2 * time.Second},
		"synced every second, the disk fails and forgets what it had": {Second, true, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s, path := &failingDisk{forgets: c.forgets}, &rotatetest.MemStore{}, filepath.Join(t.TempDir(), "audit.log")
				l := openLog(t, Options{Path: path, Sync: c.mode, Settings: s, open: d.open})
				appendN(t, l, 0, 2)
				time.Sleep(3 * time.Second) // the settler has synced
				want := []string{"u0", "u1"}
				if c.mode == Second { // acknowledged before the disk failed
					appendN(t, l, 2, 4)
					want = append(want, "u2", "u3")
				}
				d.failing.Store(true)
				time.Sleep(3 * time.Second)
				if err := l.Append(t.Context(), event(7)); !errors.Is(err, syscall.EIO) {
					t.Errorf("Append while the disk fails = %v, want %v", err, syscall.EIO)
				}
				time.Sleep(c.lasts)
				d.failing.Store(false)
				time.Sleep(longPause + 2*time.Second) // nobody appends: the log heals by itself
				appendN(t, l, 8, 9)
				closeLog(t, l)
				if got := users(t, path); !slices.Equal(got, append(want, "u8")) {
					t.Errorf("the log has %v, want %v and u8", got, want)
				}
				if got := actions(t, path); !slices.Contains(got, ActionRepair) || slices.Contains(got, ActionGap) {
					t.Errorf("the log has %v, want a repair and no gap", got)
				}
				if _, err := VerifyFile(t.Context(), path, s); err != nil {
					t.Errorf("VerifyFile = %v", err)
				}
			})
		})
	}
}

// What another process appended meanwhile stays, in its place.
func TestHealingKeepsOthersLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s, path := &failingDisk{}, &rotatetest.MemStore{}, filepath.Join(t.TempDir(), "audit.log")
		l := openLog(t, Options{Path: path, Sync: Second, Settings: s, open: d.open})
		other := openLog(t, Options{Path: path, Sync: Second, Settings: s})
		appendN(t, l, 0, 1)
		appendN(t, other, 1, 2)
		appendN(t, l, 2, 3)
		d.failing.Store(true)
		time.Sleep(2 * time.Second)
		appendN(t, other, 3, 4)
		d.failing.Store(false)
		time.Sleep(longPause)
		appendN(t, l, 4, 5)
		closeLog(t, l)
		closeLog(t, other)
		if got, want := users(t, path), []string{"u0", "u1", "u2", "u3", "u4"}; !slices.Equal(got, want) {
			t.Errorf("the log has %v, want %v", got, want)
		}
		if _, err := VerifyFile(t.Context(), path, s); err != nil {
			t.Errorf("VerifyFile = %v", err)
		}
	})
}

// What cannot be had back is told: the file was cut while the disk failed.
func TestHealingTellsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s, path := &failingDisk{}, &rotatetest.MemStore{}, filepath.Join(t.TempDir(), "audit.log")
		l := openLog(t, Options{Path: path, Settings: s, open: d.open})
		appendN(t, l, 0, 3)
		time.Sleep(2 * time.Second)
		d.failing.Store(true)
		if err := l.Append(t.Context(), event(3)); err == nil {
			t.Error("Append while the disk fails succeeded")
		}
		b := read(t, path)
		overwrite(t, path, b[:strings.Index(string(b), "\n")+1])
		d.failing.Store(false)
		time.Sleep(longPause)
		closeLog(t, l)
		if got := actions(t, path); !slices.Contains(got, ActionGap) {
			t.Errorf("the log has %v, want a gap", got)
		}
		if _, err := VerifyFile(t.Context(), path, s); !errors.Is(err, ErrBroken) {
			t.Errorf("VerifyFile = %v, want %v", err, ErrBroken)
		}
	})
}

func TestClosingASickLogSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &failingDisk{}
		l := openLog(t, Options{Path: filepath.Join(t.TempDir(), "audit.log"), open: d.open})
		d.failing.Store(true)
		if err := l.Append(t.Context(), event(0)); err == nil {
			t.Error("Append while the disk fails succeeded")
		}
		if err := l.Close(context.WithoutCancel(t.Context())); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close = %v, want %v", err, syscall.EIO)
		}
	})
}

// slowDisk syncs when it is let, or fails to and forgets what was written since.
type slowDisk struct {
	failingDisk
	begun, let chan struct{}
}

func (d *slowDisk) open(path string, flag int) (file, error) {
	f, err := d.failingDisk.open(path, flag)
	if err != nil {
		return nil, err
	}
	return &slowFile{f, d}, nil
}

type slowFile struct {
	file
	disk *slowDisk
}

func (f *slowFile) Sync() error {
	select {
	case f.disk.begun <- struct{}{}:
		<-f.disk.let
	default: // only the first one is looked at
	}
	return f.file.Sync()
}

// TestAppendsDoNotWaitForTheDisk: synced every second, a log takes lines while
// the disk works on those before. The anchors do not name them, and they are
// there if the disk fails then.
func TestAppendsDoNotWaitForTheDisk(t *testing.T) {
	for name, fails := range map[string]bool{"the disk is slow": false, "the disk is slow, fails and forgets": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.log")
				d := &slowDisk{failingDisk: failingDisk{forgets: true}, begun: make(chan struct{}), let: make(chan struct{})}
				l := openLog(t, Options{Path: path, Sync: Second, Settings: &rotatetest.MemStore{}, open: d.open})
				appendN(t, l, 0, 2)
				<-d.begun
				appendN(t, l, 2, 4) // or the test hangs
				d.failing.Store(fails)
				close(d.let)
				time.Sleep(time.Millisecond)
				if tail, err := ReadTail(path); err != nil || !fails && tail.Seq != 2 || fails && tail.Seq != 0 {
					t.Errorf("the anchor names line %d, %v, want the one that is synced", tail.Seq, err)
				}
				d.failing.Store(false)
				time.Sleep(time.Minute)
				if got, want := users(t, path), []string{"u0", "u1", "u2", "u3"}; !slices.Equal(got, want) {
					t.Errorf("the log has %q, want %q", got, want)
				}
				if err := l.Close(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
			})
		})
	}
}
