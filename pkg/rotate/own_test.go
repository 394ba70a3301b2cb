package rotate_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// What keyrot did itself and finds again, because the answer was lost, is done.

var errLost = errors.New("the answer was lost")

// TestANewKeyOutlivesALostAnswer saves a new key without an answer, and a
// promise on top of it before anybody looks: the save is then in conflict with
// what the store has, and the key in it is good.
func TestANewKeyOutlivesALostAnswer(t *testing.T) {
	for name, answer := range map[string]error{
		"no answer":                     errLost,
		"the repetition is in conflict": rotate.ErrConflict,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				h.turn(t, rotate.Options{})
				lost := false
				h.store.After = func(op, user string) error {
					if op != rotatetest.OpSave || lost {
						return nil
					}
					e, err := h.store.Load(t.Context(), user)
					if err != nil || e.Record.In(plan.Pending) == nil {
						return err
					}
					lost = true
					cur := e.Record.In(plan.Current)
					e.Record = e.Record.Promised(plan.Offer{KeyID: cur.ID, Expiration: cur.Promise.Add(time.Minute)})
					if _, err := h.store.Save(t.Context(), e); err != nil {
						t.Errorf("saving a promise: %v", err)
					}
					return answer
				}
				h.run(t, 11*time.Minute)
				if !lost {
					t.Fatal("no answer was lost: the test has shown nothing")
				}
				if n := h.aws.Calls(rotatetest.DeleteKey); n != 0 {
					t.Errorf("%d keys were deleted, want none: the new one is in the store", n)
				}
				if c := h.give(t, "ci"); !h.works(c) || time.Since(c.Created) > 2*time.Minute {
					t.Errorf("%s of %s is handed out (works: %v), want the new key", c.KeyID, c.Created, h.works(c))
				}
			})
		})
	}
}

// TestANewKeyIsNotTakenBackUnseen has a store that fails just when a new key is
// saved, after it took effect, and cannot be read for a while.
func TestANewKeyIsNotTakenBackUnseen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		var since atomic.Pointer[time.Time] // the selection is read beside the passes
		h.store.After = func(op, user string) error {
			if op == rotatetest.OpSave && since.Load() == nil {
				if e, err := h.store.Load(t.Context(), user); err == nil && e.Record.In(plan.Pending) != nil {
					now := time.Now()
					since.Store(&now)
				}
			}
			if at := since.Load(); at != nil && time.Since(*at) < 30*time.Second {
				return errLost
			}
			return nil
		}
		h.run(t, 11*time.Minute)
		if n := h.aws.Calls(rotatetest.DeleteKey); n != 0 || since.Load() == nil {
			t.Errorf("%d keys were deleted, want none: the new one is in the store", n)
		}
		if c := h.give(t, "ci"); !h.works(c) || time.Since(c.Created) > 2*time.Minute {
			t.Errorf("%s of %s is handed out (works: %v), want the new key", c.KeyID, c.Created, h.works(c))
		}
	})
}

// TestAReleasedSecretIsShownBeforeItGoes releases a user while the answer of the
// removal is lost, or the secret cannot be shown.
func TestAReleasedSecretIsShownBeforeItGoes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, cur := oneKey(t)
		if err := h.Release(t.Context(), "ci", "test"); err != nil {
			t.Fatal(err)
		}
		closed := errors.New("broken pipe")
		if _, _, err := h.Let(t.Context(), "ci", func(rotate.Credential) error { return closed }); !errors.Is(err, closed) {
			t.Fatalf("Let() that cannot show the secret = %v, want %v", err, closed)
		}
		if got := h.give(t, "ci"); got.KeyID != cur.KeyID {
			t.Fatalf("the store has %s after that, want %s", got.KeyID, cur.KeyID)
		}
		lost := false
		h.store.After = func(op, _ string) error {
			if op == rotatetest.OpRemove && !lost {
				lost = true
				return errLost
			}
			return nil
		}
		var shown []rotate.Credential
		done, _, err := h.Let(t.Context(), "ci", func(c rotate.Credential) error {
			if _, err := h.store.Load(t.Context(), "ci"); err != nil {
				t.Errorf("the secret is shown after the store forgot it: %v", err)
			}
			shown = append(shown, c)
			return nil
		})
		if err != nil || !done || !lost {
			t.Errorf("Let() whose answer was lost = %v, %v, want done (an answer was lost: %v)", done, err, lost)
		}
		if len(shown) != 1 || shown[0].KeyID != cur.KeyID || !h.works(shown[0]) {
			t.Errorf("%d secrets were shown, want that of %s", len(shown), cur.KeyID)
		}
		if _, err := h.store.Load(t.Context(), "ci"); !errors.Is(err, rotate.ErrNotFound) {
			t.Errorf("Load() after the release = %v, want %v", err, rotate.ErrNotFound)
		}
	})
}

func TestImportWithALostAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		k, secret, err := h.aws.Create(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		h.store.After = func(op, _ string) error {
			if op == rotatetest.OpSave {
				return errLost
			}
			return nil
		}
		if err := h.Import(t.Context(), "ci", k.ID, secret, "test"); err != nil {
			t.Errorf("Import() that took effect = %v", err)
		}
	})
}
