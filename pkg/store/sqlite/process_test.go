package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
)

// The test binary runs itself as a second process when this is set to the
// store's path.
const childEnv = "KEYROT_TEST_STORE"

func TestMain(m *testing.M) {
	path := os.Getenv(childEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := child(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child opens the store and increments the counter of user "n" as often as
// its argument says (0: until killed). It prints each value after it was
// acknowledged.
func child(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path, Key: seal.KeyFile(path + ".key")})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	for i := 0; n == 0 || i < n; i++ {
		v, err := increment(ctx, s)
		if err != nil {
			return err
		}
		fmt.Println(v)
	}
	return s.Close()
}

func increment(ctx context.Context, s *Store) (int, error) {
	for {
		e, err := s.Load(ctx, "n")
		if errors.Is(err, rotate.ErrNotFound) {
			e, err = entry("n"), nil
		}
		if err != nil {
			return 0, err
		}
		e.Record.Failures++
		e.Secrets["AKIA1n"] = rotate.NewSecret(strconv.Itoa(e.Record.Failures))
		if _, err = s.Save(ctx, e); err == nil {
			return e.Record.Failures, nil
		}
		if !errors.Is(err, rotate.ErrConflict) {
			return 0, err
		}
	}
}

func start(t *testing.T, path string, n int) (*exec.Cmd, io.Reader, *strings.Builder) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, strconv.Itoa(n))
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out, &stderr
}

func openShared(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path, Key: seal.KeyFile(path + ".key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestProcessesShareOneStore(t *testing.T) {
	t.Parallel()
	const processes, rounds = 4, 25
	path := filepath.Join(t.TempDir(), "new", "keyrot.db")
	var wg sync.WaitGroup
	for range processes {
		cmd, out, stderr := start(t, path, rounds)
		wg.Go(func() {
			if _, err := io.Copy(io.Discard, out); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("child: %v\n%s", err, stderr)
			}
		})
	}
	wg.Wait()
	e, err := openShared(t, path).Load(t.Context(), "n")
	if err != nil || e.Record.Failures != processes*rounds {
		t.Errorf("after %d increments: %d, %v", processes*rounds, e.Record.Failures, err)
	}
}

func TestConcurrentFirstOpen(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := filepath.Join(t.TempDir(), "keyrot.db")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := Open(t.Context(), Options{Path: path, Key: seal.KeyFile(path + ".key")})
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyrot.db")
	for round := range 10 {
		cmd, out, stderr := start(t, path, 0)
		lines := bufio.NewScanner(out)
		acked := 0
		for range 3 + 2*round { // a different moment each round
			if !lines.Scan() {
				t.Fatalf("round %d: child ended: %v\n%s", round, cmd.Wait(), stderr)
			}
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			acked = n
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			}
		}
		_ = cmd.Wait() // killed

		s := openShared(t, path)
		e, err := s.Load(t.Context(), "n")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if e.Record.Failures < acked {
			t.Errorf("round %d: %d was acknowledged, the store has %d", round, acked, e.Record.Failures)
		}
		if got := e.Secrets["AKIA1n"].Reveal(); got != strconv.Itoa(e.Record.Failures) {
			t.Errorf("round %d: record %d has the secret of %s", round, e.Record.Failures, got)
		}
		if err := s.Close(); err != nil {
			t.Errorf("round %d: Close: %v", round, err)
		}
	}
}
