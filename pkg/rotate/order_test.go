package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// slowly lets one call through in every interval, whatever it is, and says how
// many callers it had at once.
type slowly struct {
	every time.Duration

	mu     sync.Mutex
	next   time.Time
	inside map[rotate.Call]int
	most   int
	calls  []rotate.Call
}

func (s *slowly) Wait(ctx context.Context, call rotate.Call) error {
	s.mu.Lock()
	if s.inside == nil {
		s.inside = map[rotate.Call]int{}
	}
	s.inside[call]++
	s.most = max(s.most, s.inside[call])
	now := time.Now()
	at := s.next
	if at.Before(now) {
		at = now
	}
	s.next = at.Add(s.every)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inside[call]--
		s.mu.Unlock()
	}()
	t := time.NewTimer(at.Sub(now))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return nil
}

func users(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("u%03d", i))
	}
	return names
}

// A key that is made is promoted as soon as it is proven and settled, though
// hundreds of others wait to be made.
func TestPromotionsAreNotBehindCreations(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse(users(300)...)
		h.Pace = &slowly{every: time.Second}
		made, late := map[string]time.Time{}, time.Duration(0)
		var mu sync.Mutex
		h.Observe = func(user string, step plan.Step, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch step.Action {
			case plan.Create:
				made[user] = time.Now()
			case plan.Promote:
				late = max(late, time.Since(made[user]))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(made) < 200 {
			t.Errorf("%d keys were made in 4 minutes at one a second, want 200 or more", len(made))
		}
		if late == 0 || late > 20*time.Second {
			t.Errorf("a key was promoted %s after it was made, want 20s at most: it settles for 10s", late)
		}
		if s := h.Pace.(*slowly); s.most != 1 {
			t.Errorf("%d callers waited for the pace of one call at once, want the one whose turn it is", s.most)
		}
	})
}

// Every slot of a daemon is taken by creations that IAM does not answer: a burn
// does not wait for them.
func TestABurnDoesNotWaitForCreations(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("leaky")
		h.turn(t, rotate.Options{})
		leaked := h.give(t, "leaky")
		for _, u := range users(50) {
			h.aws.AddUser(u, "/", nil)
		}
		iam := &silentIAM{IAM: h.aws, but: "leaky"}
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: iam, Store: h.store, Owner: "daemon", Workers: 1, Select: h.Select}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(10 * time.Second)
		if iam.hangs.Load() == 0 {
			t.Fatal("no creation hangs")
		}
		command := &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "command"}
		if _, err := command.Order(t.Context(), "leaky", plan.Order{Kind: plan.Burn, By: "test"}); err != nil {
			t.Fatal(err)
		}
		ordered := time.Now()
		for h.aws.Use(leaked.KeyID, leaked.Secret.Reveal()) == nil && time.Since(ordered) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		// Its replacement is made first, and proven: by 3 calls, and 3 more once it has settled.
		if took := time.Since(ordered); took > 15*time.Second {
			t.Errorf("the burned key worked for %s after the order, while creations hung", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// silentIAM answers no CreateAccessKey before its caller gives up, but for one
// user.
type silentIAM struct {
	rotate.IAM
	but   string
	hangs atomic.Int32
}

func (h *silentIAM) Create(ctx context.Context, user string) (plan.Key, rotate.Secret, error) {
	if user == h.but {
		return h.IAM.Create(ctx, user)
	}
	h.hangs.Add(1)
	<-ctx.Done()
	return plan.Key{}, rotate.Secret{}, ctx.Err()
}

// While a pass waits for its turn nobody else gets its lease, however long that
// takes; if it is lost all the same, the call is not made.
func TestNoCallWithoutALease(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost %t", lost), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.Pace = &slowly{every: time.Millisecond, next: time.Now().Add(5 * time.Minute)}
				var held atomic.Int32
				h.store.Before = func(op, _ string) error {
					if op == rotatetest.OpAcquire && held.Add(1) > 1 && lost {
						return rotate.ErrLeased
					}
					return nil
				}
				done := make(chan rotate.Report, 1)
				go func() {
					rep, _ := h.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
					done <- rep
				}()
				for range 4 {
					time.Sleep(time.Minute)
					if lost {
						continue
					}
					_, err := h.store.Acquire(t.Context(), "ci", "another", time.Now(), time.Minute)
					if !errors.Is(err, rotate.ErrLeased) {
						t.Fatalf("another process got the lease of a pass that waits: %v", err)
					}
				}
				<-done
				want := 1
				if lost {
					want = 0
				}
				if got := h.aws.Calls(rotatetest.CreateKey); got != want {
					t.Errorf("%d keys were made, want %d", got, want)
				}
			})
		})
	}
}

// What is throttled changed nothing and is tried again by the same pass: it is
// not a failure of the user, and no intent is left.
func TestThrottledCallsAreTriedAgainInThePass(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		time.Sleep(16 * time.Minute) // a key to be made, and then one to be deactivated
		iam := &fullIAM{IAM: h.aws, refuse: map[string]int{"create": 5, "status": 3, "delete": 4}}
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: iam, Store: h.store, Owner: "test", Select: h.Select}
		rep, err := h.RunOnce(t.Context(), rotate.Options{Force: true, Patience: time.Minute})
		if err != nil || len(rep.Failed()) > 0 {
			t.Fatalf("RunOnce = %v, failed %v", err, rep.Failed())
		}
		if got := actions(rep.Users[0]); !strings.Contains(got, "promote") {
			t.Errorf("the pass did %q, want a rotation", got)
		}
		time.Sleep(16 * time.Minute)
		h.turn(t, rotate.Options{Force: true})
		e, _ := h.store.Load(t.Context(), "ci")
		if e.Record.Failures != 0 || e.Record.Error != "" || len(e.Record.Intents) != 0 {
			t.Errorf("the record has %d failures (%q) and %d intents, want none", e.Record.Failures, e.Record.Error, len(e.Record.Intents))
		}
		for call, n := range iam.refuse {
			if n > 0 {
				t.Errorf("%s was not tried until it went through: %d refusals are left", call, n)
			}
		}
	})
}

// fullIAM refuses so many calls of each kind for their pace.
type fullIAM struct {
	rotate.IAM
	mu     sync.Mutex
	refuse map[string]int
}

func (f *fullIAM) full(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse[call] == 0 {
		return nil
	}
	f.refuse[call]--
	return rotate.ErrThrottled
}

func (f *fullIAM) Create(ctx context.Context, user string) (plan.Key, rotate.Secret, error) {
	if err := f.full("create"); err != nil {
		return plan.Key{}, rotate.Secret{}, err
	}
	return f.IAM.Create(ctx, user)
}

func (f *fullIAM) SetStatus(ctx context.Context, user, id string, s plan.Status) error {
	if err := f.full("status"); err != nil {
		return err
	}
	return f.IAM.SetStatus(ctx, user, id, s)
}

func (f *fullIAM) Delete(ctx context.Context, user, id string) error {
	if err := f.full("delete"); err != nil {
		return err
	}
	return f.IAM.Delete(ctx, user, id)
}

// Everybody is looked at once after a start; for that the store is listed once,
// not at each tick, and nothing is saved and no lease taken where all is well.
func TestAStartLooksAtEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse(users(100)...)
		h.Policy = func(string) plan.Policy {
			return plan.Policy{RotateEvery: time.Hour, DeactivateAfter: 2 * time.Hour, DeleteAfter: 3 * time.Hour}
		}
		h.turn(t, rotate.Options{})
		gone := h.give(t, "u042")
		h.aws.Uproot("u042", gone.KeyID)
		h.Rotator = &rotate.Rotator{
			Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "restarted", Select: h.Select, Policy: h.Policy, Workers: 1,
		}
		var lists, leases, saves, seen atomic.Int32
		h.store.Before = func(op, user string) error {
			switch {
			case op == rotatetest.OpList:
				lists.Add(1)
			case user == "u042" && op == rotatetest.OpAcquire:
				seen.Add(1)
			case user == "u042":
			case op == rotatetest.OpAcquire:
				leases.Add(1)
			case op == rotatetest.OpSave:
				saves.Add(1)
			}
			return nil
		}
		looked := h.aws.Calls(rotatetest.ListKeys)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Second)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := h.aws.Calls(rotatetest.ListKeys) - looked; got < 100 {
			t.Errorf("%d of 100 users were looked at after the start", got)
		}
		if n := lists.Load(); n > 2 { // once more to enrol who is new
			t.Errorf("the store was listed %d times in a minute, want twice", n)
		}
		if l, s := leases.Load(), saves.Load(); l+s > 0 {
			t.Errorf("%d leases were taken and %d entries saved for users who are as the record says", l, s)
		}
		if seen.Load() == 0 {
			t.Error("no pass was made over the user whose key somebody deleted")
		}
	})
}
