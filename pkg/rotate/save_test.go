package rotate_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// A pause that comes while AWS is asked about a key holds before the answer is
// acted on, also where nothing is saved in between.
func TestPauseDuringALook(t *testing.T) {
	for name, c := range map[string]struct {
		call int // of STS, from the next rotation on
		not  plan.Action
	}{
		"while a key is confirmed":            {4, plan.Promote}, // three prove it, before it settles
		"before the old key is made inactive": {1, plan.Deactivate},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.turn(t, rotate.Options{})
				if c.not == plan.Deactivate {
					h.turn(t, rotate.Options{Force: true})
					time.Sleep(5 * time.Minute) // the proof of the new key is old by then
				}
				calls, paused := 0, false
				h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
					if op != rotatetest.CallerIdentity {
						return rotatetest.None
					}
					if calls++; calls == c.call {
						paused = true
						if err := h.Pause(t.Context(), "ci", time.Time{}, "hold on", "test"); err != nil {
							t.Error(err)
						}
					}
					return rotatetest.None
				}
				var done []plan.Action
				h.Observe = func(_ string, s plan.Step, _ error) {
					if paused {
						done = append(done, s.Action)
					}
				}
				for range 12 {
					h.turn(t, rotate.Options{})
					time.Sleep(time.Minute)
				}
				if !paused {
					t.Fatal("nobody asked AWS")
				}
				for _, a := range done {
					if a == c.not || a.Mutates() {
						t.Errorf("%s after a pause that was acknowledged, in %v", a, done)
					}
				}
			})
		})
	}
}

// What a look found is saved once, with what follows from it, and a process
// that dies before that loses nothing but the look.
func TestLooksAreSavedWithWhatFollows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		var mu sync.Mutex
		saves, fail := 0, false
		h.store.Before = func(op, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if op == rotatetest.OpSave {
				if saves++; fail {
					return errors.New("down")
				}
			}
			return nil
		}
		look := func() rotate.Report {
			rep, err := h.RunOnce(t.Context(), rotate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return rep
		}
		look() // enrols, creates and proves
		time.Sleep(time.Minute)
		saves, fail = 0, true
		if rep := look(); len(rep.Failed()) != 1 {
			t.Error("a store that is down was not noticed")
		}
		e, err := h.store.Load(t.Context(), "ci")
		if k := e.Record.In(plan.Pending); err != nil || k == nil || !k.Confirmed.IsZero() {
			t.Errorf("the key is %+v, %v, want Pending and unconfirmed", k, err)
		}
		time.Sleep(time.Minute)
		saves, fail = 0, false
		look()
		h.give(t, "ci")
		if saves != 1 {
			t.Errorf("confirmed and promoted in %d saves, want 1", saves)
		}
	})
}
