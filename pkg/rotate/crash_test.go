package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

var errCrash = errors.New("crash")

// crashWorld is one user, one client that uses what it is given, and a
// sequence of rotators, the first of which dies at a given effect.
type crashWorld struct {
	aws    *rotatetest.AWS
	store  *rotatetest.MemStore
	n      atomic.Int64 // effects so far
	at     atomic.Int64 // the effect that fails
	after  bool         // whether it fails after it took effect
	dies   bool         // whether the process dies with it
	known  bool         // whether it is known to be dead
	dead   atomic.Bool
	policy plan.Policy
}

// count numbers the effect and reports whether the process gets an error now.
func (w *crashWorld) count() (hit bool) {
	if w.dead.Load() {
		return true
	}
	return w.n.Add(1) == w.at.Load()
}

func newCrashWorld(at int64, after, dies bool) *crashWorld {
	w := &crashWorld{after: after, dies: dies, store: &rotatetest.MemStore{}}
	w.at.Store(at)
	w.aws = &rotatetest.AWS{Fault: func(op rotatetest.Op, _, _ string) rotatetest.Fault {
		dead := w.dead.Load()
		if !w.count() {
			return rotatetest.None
		}
		w.dead.Store(w.dies)
		if w.after && !dead {
			return rotatetest.After
		}
		return rotatetest.Before
	}}
	w.policy.Phase = time.Duration(time.Now().UnixNano() % int64(10*time.Minute))
	w.aws.AddUser("ci", "/", nil)
	return w
}

// crashStore is the store as the dying process sees it.
type crashStore struct {
	*rotatetest.MemStore
	w *crashWorld
}

func (s *crashStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	dead := s.w.dead.Load()
	if !s.w.count() {
		return s.MemStore.Save(ctx, e)
	}
	if s.w.after && !dead {
		_, _ = s.MemStore.Save(ctx, e)
	}
	s.w.dead.Store(s.w.dies)
	return 0, errCrash
}

func (s *crashStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if s.w.dead.Load() {
		return rotate.Entry{}, errCrash
	}
	return s.MemStore.Load(ctx, user)
}

func (s *crashStore) Release(ctx context.Context, user, owner string) error {
	if s.w.dead.Load() {
		return errCrash
	}
	return s.MemStore.Release(ctx, user, owner)
}

func (w *crashWorld) rotator(store rotate.Store, owner string) *rotate.Rotator {
	return &rotate.Rotator{
		Clock: rotatetest.Clock(), IAM: w.aws, Store: store, Owner: owner,
		Policy: func(string) plan.Policy { return w.policy },
		Select: func(context.Context) ([]rotate.User, error) { return w.aws.Users(), nil },
	}
}

// client uses what it is handed until it expires and reports every refusal.
func (w *crashWorld) client(ctx context.Context, refused *atomic.Value) {
	d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: w.store, Policy: func(string) plan.Policy { return w.policy }}
	served := false
	for ctx.Err() == nil {
		c, err := d.Give(ctx, "ci", rotate.Recipient{})
		if err != nil {
			if served && ctx.Err() == nil {
				refused.Store(fmt.Sprintf("never zero: after the first hand-out: %v", err))
				return
			}
			time.Sleep(time.Second)
			continue
		}
		served = true
		for time.Now().Before(c.Expiration) && ctx.Err() == nil {
			if err := w.aws.Use(c.KeyID, c.Secret.Reveal()); err != nil {
				refused.Store(fmt.Sprintf("served works: %s refused %s before its Expiration: %v", c.KeyID, time.Until(c.Expiration), err))
				return
			}
			time.Sleep(5 * time.Second)
		}
	}
}

// TestCrashAnywhere lets every single effect of 35 minutes fail, before and
// after it happened, once with the process dying and once without, and holds
// the end against that of an undisturbed run: the client was never refused, no
// orphan is left, the record and IAM agree.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	const life = 35 * time.Minute
	var total int64
	synctest.Test(t, func(t *testing.T) { total = crashRun(t, newCrashWorld(-1, false, false), life) })
	if total < 30 {
		t.Fatalf("only %d effects in an undisturbed run", total)
	}
	for at := int64(1); at <= total; at++ {
		for _, after := range []bool{false, true} {
			for _, how := range []struct{ dies, known bool }{{false, false}, {true, false}, {true, true}} {
				t.Run(fmt.Sprintf("effect %d after=%v %+v", at, after, how), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						w := newCrashWorld(at, after, how.dies)
						w.known = how.known
						crashRun(t, w, life)
					})
				})
			}
		}
	}
}

func crashRun(t *testing.T, w *crashWorld, life time.Duration) int64 {
	ctx, cancel := context.WithTimeout(t.Context(), life)
	defer cancel()
	var refused atomic.Value
	var wg sync.WaitGroup
	wg.Go(func() { w.client(ctx, &refused) })
	wg.Go(func() {
		first, die := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			_ = w.rotator(&crashStore{w.store, w}, "first").Run(first)
			close(ended)
		}()
		for !w.dead.Load() && ctx.Err() == nil {
			time.Sleep(time.Second)
		}
		die()
		<-ended
		time.Sleep(5 * time.Second)
		w.at.Store(-1)
		w.dead.Store(false)
		second := w.rotator(w.store, "second")
		if w.known {
			second.Dead = func() []string { return []string{"first"} }
		}
		_ = second.Run(ctx) // somebody starts it again
	})
	wg.Wait()
	if msg := refused.Load(); msg != nil {
		t.Error(msg)
	}
	e, err := w.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range w.aws.Truth("ci") {
		if e.Record.Key(k.ID) == nil {
			t.Errorf("orphans die: IAM has %s, which the record does not hold", k.ID)
		}
	}
	if since, late := plan.Overdue(e.Record, w.policy, time.Now()); late {
		t.Errorf("on time: overdue since %s in the end", since)
	}
	if o, ok := plan.Serve(e.Record, w.policy, time.Now()); !ok || e.Secrets[o.KeyID].IsZero() {
		t.Error("never zero: nothing to serve in the end")
	}
	return w.n.Load()
}
