package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test binary runs itself as another process that appends to the log at
// the path this names, until it is killed or has appended as many events as
// its argument says.
const childEnv = "KEYROT_TEST_AUDIT"

func TestMain(m *testing.M) {
	path := os.Getenv(childEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := child(path, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child prints the name of each event after it was acknowledged.
func child(path, name, count string) error {
	var n int
	if _, err := fmt.Sscan(count, &n); err != nil {
		return err
	}
	ctx := context.Background()
	l, err := Open(ctx, Options{Path: path, Sync: Second})
	if err != nil {
		return err
	}
	for i := 0; n == 0 || i < n; i++ {
		e := event(i)
		e.User = fmt.Sprintf("%s-%d", name, i)
		if err := l.Append(ctx, e); err != nil {
			return err
		}
		fmt.Println(e.User)
	}
	return l.Close(ctx)
}

// run starts a child, kills it after kill acknowledged events (0: waits for
// its end), and returns the names of all events it had acknowledged.
func run(t *testing.T, path, name string, n, kill int) (acked []string) {
	self, err := os.Executable()
	if err != nil {
		t.Error(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, name, fmt.Sprint(n))
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // the end, or a line that the kill cut off
		}
		acked = append(acked, strings.TrimSpace(line))
		if len(acked) == kill {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil && kill == 0 {
		t.Errorf("child %s: %v\n%s", name, err, stderr.String())
	}
	return acked
}

func TestProcessesShareOneLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var acked []string
	collect := func(names []string) {
		mu.Lock()
		defer mu.Unlock()
		acked = append(acked, names...)
	}
	for p := range 3 {
		wg.Go(func() { collect(run(t, path, fmt.Sprint("steady", p), 200, 0)) })
	}
	wg.Go(func() {
		for round := range 10 {
			collect(run(t, path, fmt.Sprint("killed", round), 0, 1+7*round))
		}
	})
	wg.Wait()
	// What the last kill may have left is repaired by whoever opens next.
	closeLog(t, openLog(t, Options{Path: path}))

	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := make(map[string]bool)
	for l, err := range Lines(f) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Action == ActionGap {
			t.Errorf("line %d: a gap where nothing was lost: %s", l.Seq, l.Reason)
		}
		found[l.User] = true
	}
	for _, name := range acked {
		if !found[name] {
			t.Errorf("event %s was acknowledged and is not in the log", name)
		}
	}
	if _, err := VerifyFile(t.Context(), path, nil); err != nil {
		t.Errorf("VerifyFile = %v", err)
	}
	if len(acked) < 3*200+10 {
		t.Errorf("only %d events were acknowledged", len(acked))
	}
}

// TestTheLockIsWhatOthersOpen: two processes append to one log while somebody
// removes the lock's file, or puts another one in its place.
func TestTheLockIsWhatOthersOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := newLock(lockPath(path))
	defer func() { _ = a.Close() }()
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"the file is removed", func() error { return os.Remove(lockPath(path)) }},
		{"the file is replaced", func() error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path, lockPath(path))
		}},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		if got, err := a.TryLock(); !got || err != nil {
			t.Fatalf("%s: TryLock = %t, %v", change.name, got, err)
		}
		b := newLock(lockPath(path)) // of a process that starts now
		if got, err := b.TryLock(); got || err != nil {
			t.Errorf("%s: TryLock of the second = %t, %v, want false: the first has it", change.name, got, err)
		}
		if err := a.Unlock(); err != nil {
			t.Fatal(err)
		}
		if got, err := b.TryLock(); !got || err != nil {
			t.Fatalf("%s: TryLock of the second = %t, %v, want true", change.name, got, err)
		}
		if err := errors.Join(b.Unlock(), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAStoppedNeighbourHoldsNobodyUp: another process has the lock and is stopped,
// as by a debugger. Whoever appends waits for no longer than it wants to.
func TestAStoppedNeighbourHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, Options{Path: path, LockWait: time.Hour})
	appendN(t, l, 0, 1)
	neighbour := newLock(lockPath(path))
	if free, err := neighbour.TryLock(); err != nil || !free {
		t.Fatalf("TryLock = %v, %v", free, err)
	}
	for i := range 2 { // one writes for all, and the others wait for it
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- l.Append(ctx, event(i)) }()
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Append beside a stopped process = %v, want %v", err, context.DeadlineExceeded)
			}
		case <-time.After(time.Minute):
			t.Fatal("Append waits for as long as the other process has the lock")
		}
		cancel()
	}
	if err := errors.Join(neighbour.Unlock(), neighbour.Close()); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 2, 3)
	closeLog(t, l)
	if end, err := VerifyFile(t.Context(), path, nil); err != nil || end.Seq != 4 {
		t.Errorf("VerifyFile = %d, %v, want all 4 that were asked for", end.Seq, err)
	}
}
