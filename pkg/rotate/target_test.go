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

// board is a publisher whose target holds one pair of each user, which readers
// see with its Expiration.
type board struct {
	name   string
	takes  time.Duration
	traits rotate.Traits

	mu     sync.Mutex
	err    error
	hangs  func(user string) bool
	after  func() // called when it takes a pair
	holds  map[string]rotate.Credential
	writes int
	now    int // calls under way
	most   int
	calls  int
}

func newBoard(name string) *board {
	return &board{name: name, traits: rotate.Traits{Expires: true, Compares: true}, holds: map[string]rotate.Credential{}}
}

func (b *board) Name() string { return b.name }

func (b *board) Traits() rotate.Traits { return b.traits }

func (b *board) Publish(ctx context.Context, c rotate.Credential) error {
	b.mu.Lock()
	b.now++
	b.calls++
	b.most = max(b.most, b.now)
	err, hangs := b.err, b.hangs != nil && b.hangs(c.User)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now--
	}()
	switch {
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case err != nil:
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.takes):
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.after != nil {
		b.after()
	}
	if old := b.holds[c.User]; old.KeyID != c.KeyID || !old.Expiration.Equal(c.Expiration) {
		b.holds[c.User] = c
		b.writes++
	}
	return nil
}

func (b *board) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *board) of(user string) rotate.Credential {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holds[user]
}

// TestWhateverPromotesIsPublished: readers of a target have the key that is
// served, also if the target was down just then.
func TestWhateverPromotesIsPublished(t *testing.T) {
	t.Parallel()
	for name, promote := range map[string]func(*testing.T, *house, rotate.Credential, rotate.Credential){
		"a burn that falls back on the previous key": func(t *testing.T, h *house, _, cur rotate.Credential) {
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: cur.KeyID})
		},
		"a burn that makes a new key": func(t *testing.T, h *house, old, cur rotate.Credential) {
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: old.KeyID})
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: cur.KeyID})
		},
		"a roll-back": func(t *testing.T, h *house, _, _ rotate.Credential) {
			h.mustOrder(t, plan.Order{Kind: plan.Rollback})
		},
		"a fall-back on the previous key, when somebody spoils the new one": func(_ *testing.T, h *house, _, cur rotate.Credential) {
			h.aws.Switch("ci", cur.KeyID, plan.Inactive)
		},
		"a recovery, when no replacement could be had for burned keys": func(t *testing.T, h *house, old, cur rotate.Credential) {
			h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
				if op == rotatetest.CreateKey {
					return rotatetest.Before
				}
				return rotatetest.None
			}
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: old.KeyID})
			h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: cur.KeyID})
			h.run(t, 2*time.Minute)
			h.aws.Fault = nil
		},
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, target down: %v", name, down), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					b := newBoard("t")
					h := newHouse("ci")
					h.Publishers = []rotate.Publisher{b}
					h.turn(t, rotate.Options{})
					old := h.give(t, "ci")
					h.turn(t, rotate.Options{Force: true})
					cur := h.give(t, "ci")
					if down {
						b.set(func() { b.err = errors.New("target is down") })
					}
					promote(t, h, old, cur)
					h.run(t, 4*time.Minute)
					got := h.give(t, "ci")
					if got.KeyID == cur.KeyID || !h.works(got) {
						t.Fatalf("%s is served (works: %v), want another one than %s", got.KeyID, h.works(got), cur.KeyID)
					}
					if down {
						r := h.record(t)
						if len(r.Unpublished()) != 1 || r.Waiting != plan.Unpublished {
							t.Errorf("unpublished: %v, waiting: %q, want the target and %q", r.Unpublished(), r.Waiting, plan.Unpublished)
						}
						b.set(func() { b.err = nil })
						h.run(t, time.Minute+5*time.Second)
						got = h.give(t, "ci")
					}
					if has := b.of("ci"); has.KeyID != got.KeyID {
						t.Errorf("the target holds %q while %s is served", has.KeyID, got.KeyID)
					}
				})
			})
		}
	}
}

// TestAnImportIsPublished: it is published before it is promoted, as a new key.
func TestAnImportIsPublished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		k, secret, err := h.aws.Create(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Import(t.Context(), "ci", k.ID, secret, "test"); err != nil {
			t.Fatal(err)
		}
		h.turn(t, rotate.Options{})
		if got, has := h.give(t, "ci"), b.of("ci"); has.KeyID != k.ID || got.KeyID != k.ID {
			t.Errorf("the target holds %q, %s is served, want %s", has.KeyID, got.KeyID, k.ID)
		}
	})
}

// TestAKeyThatWasPublishedAndGivenUp: a target got a new key, nobody could save
// that it did, and somebody spoiled the key.
func TestAKeyThatWasPublishedAndGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		var down, noKeys atomic.Bool
		h.store.Before = func(op, _ string) error {
			if op == "save" && down.Load() {
				return errors.New("input/output error")
			}
			return nil
		}
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey && noKeys.Load() {
				return rotatetest.Before // or another one would take its place
			}
			return rotatetest.None
		}
		h.turn(t, rotate.Options{})
		cur := h.give(t, "ci")
		b.set(func() { b.after = func() { down.Store(true) } })
		h.mustOrder(t, plan.Order{Kind: plan.Force})
		h.run(t, 30*time.Second)
		spoilt := b.of("ci").KeyID
		if r := h.record(t); spoilt == cur.KeyID || r.Target("t").KeyID != cur.KeyID {
			t.Fatal("the new key was not published, or that was saved: the test has shown nothing")
		}
		h.aws.Switch("ci", spoilt, plan.Inactive)
		noKeys.Store(true)
		b.set(func() { b.after = nil })
		time.Sleep(time.Minute)
		down.Store(false)
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "test", Select: h.Select, Publishers: h.Publishers}
		if _, err := h.RunOnce(t.Context(), rotate.Options{}); err != nil {
			t.Fatal(err)
		}
		if got, has := h.give(t, "ci"), b.of("ci"); got.KeyID != cur.KeyID || has.KeyID != cur.KeyID {
			t.Errorf("a target still holds the key that was given up: %s, want %s, which is served (%s)", has.KeyID, cur.KeyID, got.KeyID)
		}
	})
}

// TestABurnDoesNotWaitForAHungPublisher: the pass that waits for it holds the
// user's lease.
func TestABurnDoesNotWaitForAHungPublisher(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		b.traits.Timeout = 45 * time.Second
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		h.turn(t, rotate.Options{})
		leaked := h.give(t, "ci")
		b.set(func() { b.hangs = func(string) bool { return true } })
		h.mustOrder(t, plan.Order{Kind: plan.Force})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(20 * time.Second)
		h.mustOrder(t, plan.Order{Kind: plan.Burn, KeyID: leaked.KeyID})
		time.Sleep(10 * time.Second)
		if h.works(leaked) {
			t.Error("the leaked key works 10 s after the order: it waits for a publisher")
		}
		if got := h.give(t, "ci"); got.KeyID == leaked.KeyID || !h.works(got) {
			t.Error("there is no replacement")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestWhatATargetLostIsPublishedAgain: a file on a tmpfs after a reboot.
func TestWhatATargetLostIsPublishedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, later := newBoard("t"), newBoard("later")
		h := newHouse("ci")
		h.Policy = func(string) plan.Policy {
			return plan.Policy{RotateEvery: 24 * time.Hour, DeactivateAfter: 30 * time.Hour, DeleteAfter: 36 * time.Hour}
		}
		h.Publishers = []rotate.Publisher{b}
		h.run(t, time.Minute)
		cur := h.give(t, "ci")
		lose := func() { b.set(func() { delete(b.holds, "ci") }) }

		lose()
		h.run(t, 62*time.Minute) // a daemon that looks from time to time
		if b.of("ci").KeyID != cur.KeyID {
			t.Error("what the target lost was not published again within an hour")
		}
		lose()
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "restarted", Select: h.Select, Policy: h.Policy, Publishers: []rotate.Publisher{b, later}}
		h.run(t, 5*time.Second)
		if b.of("ci").KeyID != cur.KeyID {
			t.Error("a daemon that starts did not look at what the target holds")
		}
		if later.of("ci").KeyID != cur.KeyID {
			t.Error("a target that was added later does not have the key that is served")
		}
		if got := h.give(t, "ci"); got.KeyID != cur.KeyID {
			t.Fatal("there was a rotation: the test has shown nothing")
		}
		b.set(func() { b.writes = 0 })
		h.run(t, 5*time.Hour)
		if b.writes != 0 {
			t.Errorf("a target that holds the pair was written %d times", b.writes)
		}
	})
}

// TestAPublishedExpirationDoesNotPassWhileTheKeyIsServed: nothing can be
// created for hours, the key is served with a rolled Expiration, and the readers
// of a target are told so.
func TestAPublishedExpirationDoesNotPassWhileTheKeyIsServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		h.run(t, time.Minute)
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey {
				return rotatetest.Before
			}
			return rotatetest.None
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		for ctx.Err() == nil {
			time.Sleep(4 * time.Second)
			c := b.of("ci")
			if left := time.Until(c.Expiration); left <= 0 {
				t.Fatalf("the target says that the key expired %s ago, and it is served", -left)
			}
			r := h.record(t)
			if k := r.Key(c.KeyID); k.Promise.Before(c.Expiration) {
				t.Fatalf("readers were told %s, promised is %s", c.Expiration, k.Promise)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if b.writes > 40 {
			t.Errorf("%d writes in 5 hours: Secrets Manager would run out of versions", b.writes)
		}
	})
}

// TestRepublish: an operator has the key given to all targets again, also to one
// that cannot be seen.
func TestRepublish(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, blind := newBoard("t"), newBoard("blind")
		blind.traits = rotate.Traits{}
		h := newHouse("ci")
		h.Publishers, h.Optional = []rotate.Publisher{b}, []rotate.Publisher{blind}
		h.turn(t, rotate.Options{})
		cur := h.give(t, "ci")
		for _, lost := range []*board{b, blind} {
			lost.set(func() { clear(lost.holds) })
		}
		if err := h.Republish(t.Context(), "ci", "set up anew", "test"); err != nil {
			t.Fatal(err)
		}
		b.set(func() { b.err = errors.New("target is down") })
		if _, err := h.Published(t.Context(), "ci", 3*time.Second); !errors.Is(err, rotate.ErrUnpublished) || !strings.Contains(err.Error(), "target is down") {
			t.Errorf("Published() with a target down = %v, want %v and why", err, rotate.ErrUnpublished)
		}
		if r := h.record(t); r.Failures != 0 || r.Target("t").Tries != 0 {
			t.Errorf("an operator's failures were saved: %+v", r.Targets)
		}
		b.set(func() { b.err = nil })
		if _, err := h.Published(t.Context(), "ci", time.Minute); err != nil {
			t.Errorf("Published() = %v", err)
		}
		if b.of("ci").KeyID != cur.KeyID || blind.of("ci").KeyID != cur.KeyID {
			t.Error("the targets do not hold the key that is served")
		}
	})
}

// TestAPublishedExpirationFollowsALongerSchedule: the key is served for an hour
// then, and readers of a target must not be told that it has expired.
func TestAPublishedExpirationFollowsALongerSchedule(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBoard("t")
		h := newHouse("ci")
		h.Publishers = []rotate.Publisher{b}
		h.run(t, time.Minute)
		hour := plan.Policy{RotateEvery: time.Hour, DeactivateAfter: 72 * time.Minute, DeleteAfter: 90 * time.Minute}
		h.Rotator = &rotate.Rotator{
			Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "restarted", Select: h.Select,
			Publishers: h.Publishers, Policy: func(string) plan.Policy { return hour },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		for ctx.Err() == nil {
			time.Sleep(4 * time.Second)
			if left := time.Until(b.of("ci").Expiration); left <= 0 {
				t.Fatalf("the target says that the key expired %s ago, and it is served", -left)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if b.writes > 6 {
			t.Errorf("%d writes in 3 hours, want a few", b.writes)
		}
	})
}
