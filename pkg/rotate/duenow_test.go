package rotate_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// corrected is a store after whose first save AWS's answers narrow the time down:
// it is half a second less than was thought.
type corrected struct {
	rotate.Store
	clock *rotate.Clock
	once  sync.Once
}

func (s *corrected) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	v, err := s.Store.Save(ctx, e)
	s.once.Do(func() { s.clock.Begin()(s.clock.Now().Add(-1500 * time.Millisecond)) })
	return v, err
}

// looked is IAM whose list of a user's keys narrows the time down in the same way.
type looked struct {
	rotate.IAM
	clock *rotate.Clock
	once  sync.Once
}

func (a *looked) Keys(ctx context.Context, user string) ([]plan.Key, error) {
	keys, err := a.IAM.Keys(ctx, user)
	a.once.Do(func() { a.clock.Begin()(a.clock.Now().Add(-1500 * time.Millisecond)) })
	return keys, err
}

// TestAnOrderIsDueAtOnce: the look that comes before a forced rotation shows that
// the order was dated a moment too late.
func TestAnOrderIsDueAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		time.Sleep(time.Minute)
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), Store: h.store, Select: h.Select}
		h.IAM = &looked{IAM: h.aws, clock: h.Clock}
		rep := h.turn(t, rotate.Options{Force: true})
		if got := actions(rep.Users[0]); !strings.HasPrefix(got, "create ") {
			t.Errorf("rotate-once --force did %q, and waits because of %s", got, rep.Users[0].Wait.Reason)
		}
	})
}

// TestWhoWasMadeDueIsDue: an entry that was saved as due now is not left to the
// next pass because now has become a little less. For cron, that is an interval later.
func TestWhoWasMadeDueIsDue(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]rotate.Options{"enrolled": {}, "forced": {Force: true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				if o.Force {
					h.turn(t, rotate.Options{})
					time.Sleep(time.Minute)
				}
				h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Select: h.Select}
				h.Store = &corrected{Store: h.store, clock: h.Clock}
				rep := h.turn(t, o)
				if len(rep.Users) != 1 || len(rep.Users[0].Steps) == 0 {
					t.Errorf("nothing was done: %+v", rep.Users)
				}
			})
		})
	}
}

// TestWhoIsDueByAnothersClockIsDue: the process that saved an entry as due now was
// killed, and its idea of now was half a second later than the next one's.
func TestWhoIsDueByAnothersClockIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, _, _ := twoKeys(t)
		heir := h.killed(t, rotatetest.CallerIdentity, func() []string { return []string{"test"} })
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		e.Due = time.Now().Add(500 * time.Millisecond)
		if _, err := h.store.Save(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		rep, err := heir.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if !changed(rep) {
			t.Error("a pass of cron's leaves the user to the next one")
		}
	})
}
