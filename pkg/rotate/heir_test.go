package rotate_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// mortalStore is the store as a process sees it that is killed.
type mortalStore struct {
	rotate.Store
	dead atomic.Bool
}

func (s *mortalStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if s.dead.Load() {
		return rotate.Entry{}, errCrash
	}
	return s.Store.Load(ctx, user)
}

func (s *mortalStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	if s.dead.Load() {
		return 0, errCrash
	}
	return s.Store.Save(ctx, e)
}

func (s *mortalStore) Release(ctx context.Context, user, owner string) error {
	if s.dead.Load() {
		return errCrash
	}
	return s.Store.Release(ctx, user, owner)
}

// killed has a process die in the middle of the first call that op is, after which
// its lease stays, and returns the process that goes on.
func (h *house) killed(t *testing.T, op rotatetest.Op, dead func() []string) *rotate.Rotator {
	t.Helper()
	mortal := &mortalStore{Store: h.store}
	ctx, die := context.WithTimeout(t.Context(), time.Hour)
	defer die()
	h.Store = mortal
	h.aws.Fault = func(called rotatetest.Op, _, _ string) rotatetest.Fault {
		if called != op || mortal.dead.Load() {
			return rotatetest.None
		}
		mortal.dead.Store(true)
		die()
		return rotatetest.After
	}
	_ = h.Run(ctx)
	if !mortal.dead.Load() {
		t.Fatalf("there was no %s", op)
	}
	h.aws.Fault = nil
	return &rotate.Rotator{Clock: h.Clock, IAM: h.aws, Store: h.store, Owner: "heir", Log: h.Log, Select: h.Select, Policy: h.Policy, Dead: dead}
}

// TestTheLeaseOfWhoIsGone: a process of the same machine that is gone for certain
// holds nobody up. One that may still be there, or on another machine, does, until
// its lease ends.
func TestTheLeaseOfWhoIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		op     rotatetest.Op
		dead   func() []string
		within time.Duration // a step is taken
	}{
		"deactivation":      {rotatetest.UpdateKey, func() []string { return []string{"somebody", "test"} }, 0},
		"deletion":          {rotatetest.DeleteKey, func() []string { return []string{"test"} }, 0},
		"proof":             {rotatetest.CallerIdentity, func() []string { return []string{"test"} }, 0},
		"another is gone":   {rotatetest.UpdateKey, func() []string { return []string{"somebody"} }, time.Minute},
		"nobody is":         {rotatetest.UpdateKey, func() []string { return nil }, time.Minute},
		"that is not known": {rotatetest.UpdateKey, nil, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h, _, _ := twoKeys(t)
				heir := h.killed(t, c.op, c.dead)
				since := time.Now()
				for !h.moves(t, heir) {
					if time.Sleep(time.Second); time.Since(since) > 5*time.Minute {
						t.Fatal("nobody goes on")
					}
				}
				if took := time.Since(since).Round(10 * time.Second); took != c.within {
					t.Errorf("another process goes on after %s, want %s", took, c.within)
				}
			})
		})
	}
}

// moves reports whether a pass took a step.
func (h *house) moves(t *testing.T, r *rotate.Rotator) bool {
	t.Helper()
	rep, err := r.RunOnce(t.Context(), rotate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return changed(rep)
}

// dying is a required publisher whose process is killed while it publishes.
type dying struct {
	target
	die func()
}

func (p *dying) Publish(ctx context.Context, c rotate.Credential) error {
	p.die()
	return p.target.Publish(ctx, c)
}

// TestPublishingOutlivesItsProcess: what publishes when its process is killed goes
// on, and nobody must publish another key meanwhile.
func TestPublishingOutlivesItsProcess(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{&target{name: "t"}}
		h.turn(t, rotate.Options{})
		mortal := &mortalStore{Store: h.store}
		ctx, die := context.WithTimeout(t.Context(), time.Hour)
		defer die()
		h.Store = mortal
		h.Publishers = []rotate.Publisher{&dying{target{name: "t"}, func() { mortal.dead.Store(true); die() }}}
		_ = h.Run(ctx)
		since := time.Now()
		heir := &rotate.Rotator{
			Clock: h.Clock, IAM: h.aws, Store: h.store, Owner: "heir", Log: h.Log, Select: h.Select,
			Publishers: []rotate.Publisher{&target{name: "t"}}, Dead: func() []string { return []string{"test"} },
		}
		for !h.moves(t, heir) {
			time.Sleep(time.Second)
		}
		if took := time.Since(since).Round(10 * time.Second); took != time.Minute {
			t.Errorf("another process goes on after %s, want when the lease has ended", took)
		}
	})
}

// TestAKeyOnItsWayThatEndsLate: a new key was made inactive by somebody, so it is
// deleted, and the process is killed during the call. Then it is made active again.
// Whoever goes on does not promote it while the call may still have its effect.
func TestAKeyOnItsWayThatEndsLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, cur := oneKey(t)
		h.Publishers = []rotate.Publisher{&target{name: "t", before: errors.New("closed")}}
		h.mustOrder(t, plan.Order{Kind: plan.Force})
		h.run(t, 3*time.Minute) // longer than lists lag
		rec := h.record(t)
		spoilt := rec.In(plan.Pending).ID
		h.aws.Switch("ci", spoilt, plan.Inactive)
		h.untilLost(t, spoilt, ending{op: rotatetest.DeleteKey, late: 20 * time.Second, other: true, heir: true})
		h.aws.Switch("ci", spoilt, plan.Active)
		h.replaced(t, cur.KeyID, 15*time.Minute)
	})
}
