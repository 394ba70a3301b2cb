package rotate_test

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// restored is a house whose store is an older copy: rotation went on for a
// while after it was made. last is what was handed out right before the loss.
func restored(t *testing.T, after time.Duration) (h *house, last rotate.Credential) {
	t.Helper()
	return restoredFrom(t, 25*time.Minute, after)
}

// restoredFrom is the same for a copy of a given age of the house, with
// publishers.
func restoredFrom(t *testing.T, age, after time.Duration, to ...rotate.Publisher) (h *house, last rotate.Credential) {
	t.Helper()
	h = newHouse("ci")
	h.Publishers = to
	h.turn(t, rotate.Options{})
	h.run(t, age)
	copied, err := h.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	h.run(t, after)
	last = h.give(t, "ci")
	now, err := h.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	copied.Version = now.Version
	if _, err := h.store.Save(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	return h, last
}

func (h *house) loss(t *testing.T) rotate.Loss {
	t.Helper()
	all, err := h.Losses(t.Context(), nil)
	if err != nil || len(all) != 1 {
		t.Fatalf("Losses() = %+v, %v, want one user", all, err)
	}
	return all[0]
}

func older(keys []plan.Key) string {
	return slices.MinFunc(keys, func(a, b plan.Key) int { return a.Created.Compare(b.Created) }).ID
}

// recover orders the replacement and sees it done.
func (h *house) recover(t *testing.T, l rotate.Loss, room string) error {
	t.Helper()
	o, err := h.Recover(t.Context(), l, room, "test")
	if err != nil {
		return err
	}
	_, err = h.Obey(t.Context(), "ci", o, 20*time.Minute)
	return err
}

// The store is restored from a copy of an hour and more ago, whenever in a
// rotation that is: the user is served again, what was handed out before works
// until its Expiration, and rotation goes on.
func TestRecoverAfterARestore(t *testing.T) {
	for _, more := range []time.Duration{0, 90 * time.Second, 2*time.Minute + 30*time.Second, 4 * time.Minute, 8 * time.Minute} {
		t.Run(more.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h, last := restored(t, time.Hour+more)
				h.run(t, 2*time.Minute) // by itself nothing gets better, and nothing worse
				if !h.works(last) && time.Now().Before(last.Expiration) {
					t.Fatal("the daemon took a key that was promised")
				}
				_, gerr := (&rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}).Give(t.Context(), "ci", rotate.Recipient{Caller: "test"})
				if !errors.Is(gerr, rotate.ErrNoKeyReady) {
					t.Fatalf("Give() = %v, want %v, or this shows nothing", gerr, rotate.ErrNoKeyReady)
				}
				l := h.loss(t)
				room := ""
				if l.Full {
					room = cmp.Or(l.Idle(), older(l.Keys)) // which the operator chooses
				}
				done := make(chan error, 1)
				go func() { done <- h.recover(t, l, room) }()
				for time.Now().Before(last.Expiration) {
					if !h.works(last) {
						t.Errorf("what was handed out stopped working %s before its Expiration", time.Until(last.Expiration))
						break
					}
					time.Sleep(time.Second)
				}
				if err := <-done; err != nil {
					t.Errorf("Obey() = %v", err)
				}
				if got := h.give(t, "ci"); !h.works(got) {
					t.Errorf("%s is handed out and does not work", got.KeyID)
				}
				h.run(t, time.Hour)
				if got := h.give(t, "ci"); !h.works(got) || len(h.aws.Truth("ci")) > 2 || slices.ContainsFunc(h.aws.Truth("ci"), func(k plan.Key) bool { return k.ID == last.KeyID }) {
					t.Errorf("after another hour IAM has %+v", h.aws.Truth("ci"))
				}
				if rest, err := h.Losses(t.Context(), nil); err != nil || len(rest) > 0 {
					t.Errorf("Losses() after it = %+v, %v", rest, err)
				}
			})
		})
	}
}

// Of two active keys one goes, and the other stays until a new one is served.
func TestRecoverOfTwoActiveKeys(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, last := restored(t, time.Hour)
		for _, k := range h.aws.Truth("ci") {
			if k.ID != last.KeyID {
				h.aws.Uproot("ci", k.ID)
			}
		}
		other, err := h.aws.Plant("ci")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		l := h.loss(t)
		if !l.Full || l.Idle() != "" || len(l.Lost) != 2 {
			t.Fatalf("loss = %+v, want two active keys", l)
		}
		if _, err := h.Recover(t.Context(), l, "AKIANONE", "test"); !errors.Is(err, rotate.ErrNoKey) {
			t.Errorf("Recover() with a key of nobody = %v, want %v", err, rotate.ErrNoKey)
		}
		done := make(chan error, 1)
		go func() { done <- h.recover(t, l, other) }()
		for served := false; !served; time.Sleep(100 * time.Millisecond) {
			e, err := h.store.Load(t.Context(), "ci")
			if err != nil {
				t.Fatal(err)
			}
			o, ok := plan.Serve(e.Record, plan.Policy{}, time.Now())
			if served = ok && o.KeyID != last.KeyID && e.Record.In(plan.Current).Created.After(last.Created); !served && !h.works(last) {
				t.Fatal("both keys are gone before a new one is served")
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRecoverNeverTakesTheLastKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, _ := restored(t, time.Hour)
		l := h.loss(t)
		for _, k := range h.aws.Truth("ci") {
			if k.Status != plan.Active {
				h.aws.Uproot("ci", k.ID)
			}
		}
		l = h.loss(t)
		for _, k := range l.Keys {
			if _, err := h.Recover(t.Context(), l, k.ID, "test"); len(l.Keys) == 1 && !errors.Is(err, rotate.ErrLastKey) {
				t.Errorf("Recover() at the expense of the last key = %v, want %v", err, rotate.ErrLastKey)
			}
		}
	})
}

// A user that is not in the copy at all, with a key of keyrot's and one of
// somebody else's: what the operator says is keyrot's is replaced as the keys of
// others are, once nothing can be promised for it, and the other one is kept.
// The same if a daemon has enrolled the user before.
func TestRecoverOfAnUnknownUser(t *testing.T) {
	for name, enrolled := range map[string]bool{"not enrolled": false, "enrolled by a daemon": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				mine, _ := h.aws.Plant("ci")
				room, other := "", ""
				if enrolled {
					h.Existing = rotate.Retire
					h.turn(t, rotate.Options{})
				} else {
					room = mine
					other, _ = h.aws.Plant("ci")
				}
				l := h.loss(t)
				if l.New == enrolled || l.Full == enrolled || len(l.Lost) > 0 || !slices.Contains(l.Unclear, mine) {
					t.Fatalf("loss = %+v, want a user of which nothing is known", l)
				}
				l.Lost = []string{mine}
				began := time.Now()
				if err := h.recover(t, l, room); err != nil {
					t.Fatal(err)
				}
				h.run(t, 13*time.Minute)
				if got := h.give(t, "ci"); !h.works(got) {
					t.Errorf("%s is handed out and does not work", got.KeyID)
				}
				if slices.Contains(h.aws.Working("ci"), mine) || other != "" && !slices.Contains(h.aws.Working("ci"), other) {
					t.Errorf("%s after the order %v work, want that %s does not and %q does", time.Since(began), h.aws.Working("ci"), mine, other)
				}
			})
		})
	}
}

// A user that was renamed since the copy was made is recovered by its old name.
func TestRecoverOfARenamedUser(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, _ := restored(t, time.Hour)
		h.aws.RenameUser("ci", "ci-new")
		l := h.loss(t)
		if l.User.Name != "ci" || l.New || len(l.Lost) == 0 {
			t.Fatalf("loss = %+v, want the keys of the user that is known as ci", l)
		}
		if err := h.recover(t, l, l.Idle()); err != nil {
			t.Fatal(err)
		}
		if got := h.give(t, "ci"); !h.works(got) {
			t.Errorf("%s is handed out and does not work", got.KeyID)
		}
	})
}

// An entry that cannot be read hides no other user's loss.
func TestLossesBesideAnUnreadableEntry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ann", "bob")
		h.turn(t, rotate.Options{})
		if _, err := h.aws.Plant("bob"); err != nil {
			t.Fatal(err)
		}
		damaged := errors.New("damaged")
		h.store.Before = func(op, user string) error {
			if op == rotatetest.OpLoad && user == "ann" {
				return damaged
			}
			return nil
		}
		all, err := h.Losses(t.Context(), nil)
		if err != nil || len(all) != 2 || !errors.Is(all[0].Err, damaged) || all[1].User.Name != "bob" || len(all[1].Lost) != 1 {
			t.Errorf("Losses() = %+v, %v, want ann's failure and bob's key", all, err)
		}
	})
}
