package rotate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// meteredStore counts what is read of more than one user.
type meteredStore struct {
	*rotatetest.MemStore
	lists, entries atomic.Int64
}

func (s *meteredStore) List(ctx context.Context) ([]rotate.Entry, error) {
	s.lists.Add(1)
	all, err := s.MemStore.List(ctx)
	s.entries.Add(int64(len(all)))
	return all, err
}

func (s *meteredStore) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	c, err := s.MemStore.Changes(ctx, mark)
	s.entries.Add(int64(len(c.Entries)))
	return c, err
}

// A daemon whose users rotate once a day does not read all of them each minute to
// find who is new, though some cannot be enrolled and are tried each time. Whom
// another process removes, and whose keys stand in the way no longer, is enrolled
// after the next reading of the selection; whom another process enrols is known.
func TestWhoIsNewIsFoundWithoutReadingEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse(users(100)...)
		h.Policy = func(string) plan.Policy {
			return plan.Policy{RotateEvery: 24 * time.Hour, DeactivateAfter: 48 * time.Hour, DeleteAfter: 72 * time.Hour}
		}
		h.Reconcile = 24 * time.Hour
		h.turn(t, rotate.Options{})
		foreign := map[string]string{"x0": "", "x1": "", "x2": ""}
		for user := range foreign {
			h.aws.AddUser(user, "/", nil)
			id, err := h.aws.Plant(user)
			if err != nil {
				t.Fatal(err)
			}
			foreign[user] = id
		}
		store := &meteredStore{MemStore: h.store}
		other := h.Rotator
		h.Rotator = &rotate.Rotator{
			Clock: rotatetest.Clock(), IAM: h.aws, Store: store, Owner: "daemon", Select: h.Select, Policy: h.Policy, Log: h.Log,
			Reconcile: h.Reconcile,
		}
		enrolled := func(user string) bool {
			_, err := h.store.Load(t.Context(), user)
			return err == nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()

		time.Sleep(20 * time.Minute)
		h.aws.AddUser("new", "/", nil)
		if _, err := other.RunOnce(t.Context(), rotate.Options{Users: []string{"new"}, Patience: time.Minute}); err != nil {
			t.Fatal(err)
		}
		h.aws.Uproot("x1", foreign["x1"])
		time.Sleep(2 * time.Minute)
		if !enrolled("x1") || enrolled("x0") || enrolled("x2") {
			t.Error("of those with foreign keys, want the one enrolled whose key is gone")
		}

		time.Sleep(10 * time.Minute)
		gone, err := h.store.Load(t.Context(), "u042")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range gone.Record.Keys {
			h.aws.Uproot("u042", k.ID)
		}
		if err := h.store.Remove(t.Context(), "u042", gone.Version); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if !enrolled("u042") {
			t.Error("a selected user that another process removed is not enrolled again")
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := store.lists.Load(); n > 1 {
			t.Errorf("the store was listed %d times in an hour, want once at the start", n)
		}
		// The start, what is known from then on, and once more after the removal.
		if n := store.entries.Load(); n > 3*110 {
			t.Errorf("%d entries of about 100 users were read in an hour to find who is new or due at the start, want three times all", n)
		}
	})
}
