package rotate_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestTwinsActOnce has two processes of one host name and process id, as in
// containers, on one store for six hours. Each key is deactivated once: what one
// process alone would do. With one name for both, as it was before a process had
// a name by chance, they share leases and repeat each other's calls.
func TestTwinsActOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		owner  string
		shared bool // the leases are
	}{
		{"each its own name", "", false},
		{"one name for both", "host/1", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				calls, keys := twins(t, tc.owner)
				t.Logf("%d deactivations of %d keys", calls, keys)
				switch {
				case keys < 3*34:
					t.Errorf("%d keys were deactivated, want about 105", keys)
				case !tc.shared && calls != keys:
					t.Errorf("%d deactivations of %d keys, want one for each", calls, keys)
				case tc.shared && calls == keys:
					t.Errorf("%d deactivations of %d keys: with shared leases there should be more, or this shows nothing", calls, keys)
				}
			})
		})
	}
}

// twins runs two rotators for six hours and counts the deactivations that AWS was
// asked for, and the keys.
func twins(t *testing.T, owner string) (calls, keys int) {
	h := newHouse("ann", "bob", "cid")
	var mu sync.Mutex
	seen := map[string]bool{}
	h.aws.Log = func(c rotatetest.Call) {
		if c.Op == rotatetest.UpdateKey {
			mu.Lock()
			defer mu.Unlock()
			calls++
			seen[c.KeyID] = true
		}
	}
	h.aws.Latency = rotatetest.Delay{Min: 100 * time.Millisecond, Max: time.Second}
	h.aws.Sleep = func(ctx context.Context, d time.Duration) error {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Hour)
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		r := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Select: h.Select, Owner: owner}
		wg.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Errorf("Run() = %v", err)
			}
		})
	}
	wg.Wait()
	return calls, len(seen)
}
