package rotate_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// lateIndex is a store whose due index names users as they were due a while ago.
type lateIndex struct {
	rotate.Store
	by time.Duration

	mu  sync.Mutex
	was []wasDue
}

type wasDue struct {
	at   time.Time
	user string
	due  time.Time
	only bool // only a new key is due
}

func (s *lateIndex) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	v, err := s.Store.Save(ctx, e)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.was = append(s.was, wasDue{time.Now(), e.Record.User, e.Due, e.Creates})
	}
	return v, err
}

func (s *lateIndex) Due(_ context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]wasDue{}
	for _, w := range s.was {
		if !w.at.After(time.Now().Add(-s.by)) {
			seen[w.user] = w
		}
	}
	var users []string
	for user, w := range seen {
		if !w.due.After(t) && w.only == creates {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users[:min(limit, len(users))], nil
}

// An index that lags behind by a minute names users again and again that are not
// due any more. That costs a read each time, and no call of AWS.
func TestALateIndexCostsNoCalls(t *testing.T) {
	t.Parallel()
	count := func(by time.Duration) (lists, leases int) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse("ci")
			h.store.Before = func(op, _ string) error {
				if op == rotatetest.OpAcquire {
					leases++
				}
				return nil
			}
			h.Store = &lateIndex{Store: h.store, by: by}
			h.run(t, time.Hour)
			lists = h.aws.Calls(rotatetest.ListKeys)
		})
		return lists, leases
	}
	lists, leases := count(0)
	late, lateLeases := count(time.Minute)
	if lists == 0 || late > lists+6 || lateLeases > leases+6 { // an hour has 6 rotations, some of which are late by a minute
		t.Errorf("with an index that lags a minute there were %d calls of ListAccessKeys and %d leases in an hour, otherwise %d and %d",
			late, lateLeases, lists, leases)
	}
}

// A user is paused after a pass has read the entry, and before it has the lease.
func TestWhatWasReadBeforeTheLeaseIsReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		time.Sleep(10 * time.Minute)
		paused := false
		h.store.Before = func(op, user string) error {
			if op != rotatetest.OpAcquire || paused {
				return nil
			}
			paused = true
			e, err := h.store.Load(t.Context(), user)
			if err != nil {
				return err
			}
			e.Record.Pause = &plan.Pause{Since: time.Now().UTC()}
			_, err = h.store.Save(t.Context(), e)
			return err
		}
		made := h.aws.Calls(rotatetest.CreateKey)
		if rep := h.turn(t, rotate.Options{}); !paused || h.aws.Calls(rotatetest.CreateKey) != made {
			t.Errorf("a pass acted on what was before its lease: %q (paused: %t)", actions(rep.Users[0]), paused)
		}
	})
}

// What may be a second old tells nobody anything but that there is nothing new.
func TestAPeekHandsNothingOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		old, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		first := h.give(t, "ci")
		h.turn(t, rotate.Options{Force: true})
		second := h.give(t, "ci")
		d := &rotate.Dispenser{
			Clock: rotatetest.Clock(), Store: h.store,
			Peek: func(context.Context, string) (rotate.Entry, error) { return old, nil }, // of before the rotation
		}
		for who, row := range map[string]struct {
			holds func(rotate.Credential) bool
			want  string
		}{
			"nobody holds a key":    {nil, second.KeyID},
			"the holder of none":    {func(rotate.Credential) bool { return false }, second.KeyID},
			"the holder of the new": {func(c rotate.Credential) bool { return c.KeyID == second.KeyID }, second.KeyID},
			"the holder of the old": {func(c rotate.Credential) bool { return c.KeyID == first.KeyID }, first.KeyID}, // for a second
		} {
			c, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "test", Holds: row.holds})
			if err != nil || c.KeyID != row.want {
				t.Errorf("%s: Give = %s, %v, want %s", who, c.KeyID, err, row.want)
			}
		}
		d.Peek = func(context.Context, string) (rotate.Entry, error) { return rotate.Entry{}, rotate.ErrNotFound }
		if c, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "test", Holds: func(rotate.Credential) bool { return true }}); err != nil || c.KeyID != second.KeyID {
			t.Errorf("Give after a peek that fails = %s, %v, want %s", c.KeyID, err, second.KeyID)
		}
	})
}
