package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// slowDisk is where changes are committed.
type slowDisk struct {
	free  chan struct{} // closed once it takes anything
	fails error
	saved []int // changes, by transaction
}

func (d *slowDisk) commit(ctx context.Context, all []*change) error {
	select {
	case <-d.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.fails != nil {
		return d.fails
	}
	made := 0
	for _, c := range all {
		if !c.left.Load() {
			made++
		}
	}
	d.saved = append(d.saved, made)
	return nil
}

func nothing(context.Context, *sql.Tx) error { return nil }

// TestChangesShareATransaction has one committed while 20 others come.
func TestChangesShareATransaction(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for _, tt := range []struct {
		name   string
		leaves bool // the one whose change is being committed
		fails  error
	}{
		{"all are committed", false, nil},
		{"who commits is gone", true, nil},
		{"the disk is full", false, full},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &slowDisk{free: make(chan struct{}), fails: tt.fails}
				c := newCommits(d.commit)
				first, leave := context.WithCancel(t.Context())
				defer leave()
				var wg sync.WaitGroup
				add := func(ctx context.Context) {
					wg.Go(func() {
						if err := c.add(ctx, nothing); !errors.Is(err, tt.fails) {
							t.Errorf("add = %v, want %v", err, tt.fails)
						}
					})
				}
				add(first)
				synctest.Wait()
				for range 20 {
					add(t.Context())
				}
				synctest.Wait()
				if tt.leaves {
					leave()
				}
				close(d.free)
				wg.Wait()
				if tt.fails == nil && (len(d.saved) != 2 || d.saved[0] != 1 || d.saved[1] != 20) {
					t.Errorf("the changes of each transaction are %v, want [1 20]", d.saved)
				}
				d.fails = nil
				if err := c.add(t.Context(), nothing); err != nil {
					t.Errorf("add afterwards = %v", err)
				}
			})
		})
	}
}

// TestChangesWaitAsLongAsTheirCallers has a disk hang.
func TestChangesWaitAsLongAsTheirCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{free: make(chan struct{})}
		c := newCommits(d.commit)
		var wg sync.WaitGroup
		for _, wait := range []time.Duration{2 * time.Second, time.Second, 3 * time.Second} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				began := time.Now()
				if err := c.add(ctx, nothing); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > wait {
					t.Errorf("add with %s to wait = %v after %s", wait, err, time.Since(began))
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		ended, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Go(func() { _ = c.add(ended, nothing) })
		synctest.Wait()
		for range 2 * maxJoined {
			wg.Go(func() { _ = c.add(ended, nothing) })
		}
		synctest.Wait()
		c.mu.Lock()
		n := len(c.joining.changes)
		c.mu.Unlock()
		if n != maxJoined {
			t.Errorf("%d changes wait, want %d", n, maxJoined)
		}
		wg.Wait()
		began := time.Now() // the first call finds the group full, the second one an empty one
		if err := c.add(t.Context(), nothing); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*commitWait {
			t.Errorf("add without a deadline = %v after %s", err, time.Since(began))
		}
		close(d.free)
		d.saved = nil
		if err := c.add(t.Context(), nothing); err != nil {
			t.Errorf("add once the disk is back = %v", err)
		}
		if len(d.saved) != 1 || d.saved[0] != 1 {
			t.Errorf("the changes of each transaction are %v, want [1]: the others' callers have left", d.saved)
		}
	})
}

// TestEachOfATransactionGetsItsOwnAnswer has changes of all kinds wait for one
// that is being committed, so that they share the next transaction: one that is
// refused, or cannot be written, must neither fail the others nor be made.
func TestEachOfATransactionGetsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	broken := errors.New("cannot be written")
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("one fails %t", fails), func(t *testing.T) {
			t.Parallel()
			s := openNew(t)
			ctx := t.Context()
			entry := func(user string, v int64) rotate.Entry {
				return rotate.Entry{Record: plan.Record{User: user}, Version: v}
			}
			old, err := s.Save(ctx, entry("old", 0))
			if err != nil {
				t.Fatal(err)
			}
			transactions := 0
			s.change.commit = func(ctx context.Context, all []*change) error {
				transactions++
				return s.transact(ctx, all)
			}
			entered, leave := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				err := s.change.add(ctx, func(context.Context, *sql.Tx) error {
					close(entered)
					<-leave
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			<-entered
			waiting := 0
			join := func(do func()) {
				wg.Go(do)
				waiting++
				for n := 0; n < waiting; {
					s.change.mu.Lock()
					n = len(s.change.joining.changes)
					s.change.mu.Unlock()
				}
			}
			join(func() {
				if v, err := s.Save(ctx, entry("new", 0)); err != nil || v <= old {
					t.Errorf("Save of a new user = %d, %v", v, err)
				}
			})
			join(func() {
				e := entry("old", old-1)
				e.Leave = "me"
				if _, err := s.Save(ctx, e); !errors.Is(err, rotate.ErrConflict) {
					t.Errorf("Save of an older version = %v, want a conflict", err)
				}
			})
			if fails {
				join(func() {
					err := s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
						if _, err := tx.ExecContext(ctx, `DELETE FROM entries`); err != nil {
							return err
						}
						return broken
					})
					if !errors.Is(err, broken) {
						t.Errorf("a change that fails = %v, want %v", err, broken)
					}
				})
			}
			join(func() {
				if err := s.Remove(ctx, "old", old); err != nil {
					t.Errorf("Remove = %v", err)
				}
			})
			join(func() {
				if _, err := s.Acquire(ctx, "new", "me", time.Now(), time.Minute); err != nil {
					t.Errorf("Acquire = %v", err)
				}
			})
			join(func() {
				if _, err := s.Acquire(ctx, "new", "you", time.Now(), time.Minute); !errors.Is(err, rotate.ErrLeased) {
					t.Errorf("Acquire of another = %v, want that it is leased", err)
				}
			})
			gone, leaveEarly := context.WithCancel(ctx)
			away := make(chan struct{})
			join(func() {
				defer close(away)
				if _, err := s.Save(gone, entry("gone", 0)); !errors.Is(err, context.Canceled) {
					t.Errorf("Save of a caller that left = %v, want %v", err, context.Canceled)
				}
			})
			leaveEarly()
			<-away
			close(leave)
			wg.Wait()
			if want := 2 + waiting; !fails && transactions != 2 || fails && transactions != want {
				t.Errorf("%d transactions, want 2, and one for each if one fails", transactions)
			}
			all, err := s.List(ctx)
			if err != nil || len(all) != 1 || all[0].Record.User != "new" {
				t.Errorf("List = %v, %v, want the new user", all, err)
			}
		})
	}
}
