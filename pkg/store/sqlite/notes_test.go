package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowDisk is where notes are saved.
type slowDisk struct {
	free  chan struct{} // closed once it takes anything
	fails error
	saved []int // rows, by transaction
}

func (d *slowDisk) save(ctx context.Context, rows [][]any) error {
	select {
	case <-d.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.fails != nil {
		return d.fails
	}
	d.saved = append(d.saved, len(rows))
	return nil
}

// TestHandoutsShareATransaction has one saved while 20 others come.
func TestHandoutsShareATransaction(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for _, tt := range []struct {
		name   string
		leaves bool // the one whose hand-out is being saved
		fails  error
	}{
		{"all are saved", false, nil},
		{"who saves is gone", true, nil},
		{"the disk is full", false, full},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, d := newNotes(), &slowDisk{free: make(chan struct{}), fails: tt.fails}
				first, leave := context.WithCancel(t.Context())
				defer leave()
				var wg sync.WaitGroup
				add := func(ctx context.Context) {
					wg.Go(func() {
						if err := n.add(ctx, []any{"ci"}, d.save); !errors.Is(err, tt.fails) {
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
					t.Errorf("the rows of each transaction are %v, want [1 20]", d.saved)
				}
				d.fails = nil
				if err := n.add(t.Context(), []any{"ci"}, d.save); err != nil {
					t.Errorf("add afterwards = %v", err)
				}
			})
		})
	}
}

// TestHandoutsWaitAsLongAsTheirCallers has a disk hang.
func TestHandoutsWaitAsLongAsTheirCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, d := newNotes(), &slowDisk{free: make(chan struct{})}
		var wg sync.WaitGroup
		for _, wait := range []time.Duration{2 * time.Second, time.Second, 3 * time.Second} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				began := time.Now()
				if err := n.add(ctx, []any{"ci"}, d.save); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > wait {
					t.Errorf("add with %s to wait = %v after %s", wait, err, time.Since(began))
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		ended, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Go(func() { _ = n.add(ended, []any{"ci"}, d.save) })
		synctest.Wait()
		for range 2 * maxJoined {
			wg.Go(func() { _ = n.add(ended, []any{"ci"}, d.save) })
		}
		synctest.Wait()
		n.mu.Lock()
		rows := len(n.joining.rows)
		n.mu.Unlock()
		if rows != maxJoined {
			t.Errorf("%d rows wait, want %d", rows, maxJoined)
		}
		wg.Wait()
		began := time.Now() // the first call finds the page full, the second one an empty one
		if err := n.add(t.Context(), []any{"ci"}, d.save); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*notesWait {
			t.Errorf("add without a deadline = %v after %s", err, time.Since(began))
		}
		close(d.free)
		if err := n.add(t.Context(), []any{"ci"}, d.save); err != nil {
			t.Errorf("add once the disk is back = %v", err)
		}
	})
}
