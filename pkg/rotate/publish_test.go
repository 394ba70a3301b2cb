package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// target is a publisher that can fail before or after it took effect.
type target struct {
	name          string
	before, after error
	calls         int
	got           []string // key ids, each once
}

func (p *target) Name() string { return p.name }

func (p *target) Traits() rotate.Traits { return rotate.Traits{} }

func (p *target) Publish(_ context.Context, c rotate.Credential) error {
	p.calls++
	if p.before != nil {
		return fmt.Errorf("before %s: %w", c.Secret.Reveal(), p.before) // a careless publisher
	}
	if !slices.Contains(p.got, c.KeyID) {
		p.got = append(p.got, c.KeyID)
	}
	return p.after
}

func TestARequiredPublisherHoldsThePromotion(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		good, bad := &target{name: "good"}, &target{name: "bad"}
		h.Publishers = []rotate.Publisher{good, bad}
		var held []plan.Reason
		h.Observe = func(_ string, s plan.Step, err error) {
			if s.Action == plan.Wait {
				held = append(held, s.Reason)
			}
		}
		h.turn(t, rotate.Options{})
		first := h.give(t, "ci").KeyID

		bad.before = errors.New("target is down")
		_, err := h.RunOnce(t.Context(), rotate.Options{Force: true, Patience: time.Minute})
		for range 5 {
			time.Sleep(30 * time.Second)
			_, _ = h.RunOnce(t.Context(), rotate.Options{})
			time.Sleep(100 * time.Millisecond)
			_, err = h.RunOnce(t.Context(), rotate.Options{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci").KeyID; got != first {
			t.Errorf("Give() = %s, want the old key %s while a required publisher fails", got, first)
		}
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if e.Record.Waiting != plan.Unpublished {
			t.Errorf("Waiting = %q, want %q", e.Record.Waiting, plan.Unpublished)
		}
		if !slices.Equal(held, []plan.Reason{plan.Unpublished}) {
			t.Errorf("holds told = %v, want unpublished once", held)
		}
		for id, s := range e.Secrets {
			if strings.Contains(h.log.String()+e.Record.Error, s.Reveal()) {
				t.Errorf("the secret of %s was printed", id)
			}
		}

		bad.before = nil
		time.Sleep(time.Minute)
		h.turn(t, rotate.Options{})
		c := h.give(t, "ci")
		if c.KeyID == first {
			t.Error("Give() = the old key, want the new one once all publishers confirmed")
		}
		for _, p := range []*target{good, bad} {
			if want := []string{first, c.KeyID}; !slices.Equal(p.got, want) {
				t.Errorf("%s published %v, want %v", p.name, p.got, want)
			}
		}
	})
}

func TestAnOptionalPublisherIsRetriedAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		good, bad := &target{name: "good"}, &target{name: "bad", after: errors.New("the answer was lost")}
		h.Optional = []rotate.Publisher{bad, good}
		h.turn(t, rotate.Options{})
		c := h.give(t, "ci")
		if good.calls != 1 || bad.calls != 1 {
			t.Fatalf("calls = %d, %d, want one each", good.calls, bad.calls)
		}
		// A crash: another rotator goes on from the store.
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "next", Select: h.Select, Optional: h.Optional}
		bad.after = nil
		time.Sleep(2 * time.Second)
		h.turn(t, rotate.Options{})
		time.Sleep(time.Minute)
		h.turn(t, rotate.Options{})
		if good.calls != 1 || bad.calls != 2 {
			t.Errorf("calls = %d, %d, want 1 and 2", good.calls, bad.calls)
		}
		if want := []string{c.KeyID}; !slices.Equal(bad.got, want) {
			t.Errorf("published %v, want %v", bad.got, want)
		}
	})
}

// hanging is a publisher that never answers.
type hanging struct{}

func (hanging) Name() string { return "hanging" }

func (hanging) Traits() rotate.Traits { return rotate.Traits{} }

func (hanging) Publish(ctx context.Context, _ rotate.Credential) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestAnOptionalPublisherThatHangsHoldsNoWorker: a few workers serve many
// users, whose copies all hang. Rotations come on time nevertheless.
func TestAnOptionalPublisherThatHangsHoldsNoWorker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var users []string
		for i := range 40 {
			users = append(users, fmt.Sprintf("ci-%02d", i))
		}
		h := newHouse(users...)
		h.Optional, h.Workers = []rotate.Publisher{hanging{}}, 2
		var worst time.Duration
		var mu sync.Mutex
		h.Observe = func(_ string, s plan.Step, err error) {
			mu.Lock()
			defer mu.Unlock()
			if s.Action == plan.Promote && err == nil && !s.Due.IsZero() {
				worst = max(worst, time.Since(s.Due))
			}
		}
		h.Policy = func(user string) plan.Policy {
			return plan.Policy{Phase: plan.PhaseOf(user, 10*time.Minute)}
		}
		h.run(t, 5*time.Minute) // the first keys are all made at once
		worst = 0
		h.run(t, time.Hour)
		if limit := 20 * time.Second; worst == 0 || worst > limit {
			t.Errorf("a promotion came %s after its slot, want it within %s whatever optional publishers do", worst, limit)
		}
	})
}

func TestBeatComesWithEveryTick(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		beats := 0
		h.Beat = func() { beats++ }
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		if err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if beats < 9 || beats > 12 {
			t.Errorf("%d beats in 10 s, want about 10", beats)
		}
	})
}
