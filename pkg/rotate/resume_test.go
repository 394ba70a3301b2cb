package rotate_test

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// inTime lets the daemon run for d, and reports when the user is overdue later
// than grace after now.
func (h *house) inTime(t *testing.T, grace, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	began, told := time.Now(), time.Time{}
	for ctx.Err() == nil {
		time.Sleep(time.Second)
		since, late := plan.Overdue(h.record(t), plan.Policy{}, time.Now())
		if late && time.Since(began) > grace && !since.Equal(told) {
			told = since
			t.Errorf("%s after rotation went on, the user is overdue since %s", time.Since(began), since.Sub(began))
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestRotationGoesOnInTime: all was stopped, whenever in a rotation that is, for
// minutes or hours. The first rotation after it is late, and no other one, though
// readers of a target were told that the late key works on.
func TestRotationGoesOnInTime(t *testing.T) {
	for _, at := range []time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute, 3 * time.Minute, 6 * time.Minute, 9*time.Minute + 50*time.Second} {
		for _, off := range []time.Duration{8 * time.Minute, 13 * time.Minute, 19 * time.Minute, 3 * time.Hour} {
			t.Run(at.String()+", stopped for "+off.String(), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					h := newHouse("ci")
					h.Publishers = []rotate.Publisher{newBoard("t")}
					h.run(t, 30*time.Minute+at)
					time.Sleep(off)
					h.inTime(t, 6*time.Minute, 2*time.Hour)
				})
			})
		}
	}
}

// TestRotationGoesOnInTimeAfterARecovery: the same for users that were recovered,
// once the lost keys have left.
func TestRotationGoesOnInTimeAfterARecovery(t *testing.T) {
	for _, age := range []time.Duration{20*time.Minute + 12*time.Second, 21 * time.Minute, 25 * time.Minute, 29*time.Minute + 30*time.Second} {
		for _, lost := range []time.Duration{0, time.Minute, 9*time.Minute + 30*time.Second, 15 * time.Minute, 3 * time.Hour} {
			for _, off := range []time.Duration{2 * time.Minute, 7 * time.Minute, 12 * time.Minute} {
				t.Run(fmt.Sprintf("copied at %s, %s lost, restored in %s", age, lost, off), func(t *testing.T) {
					inBubble(t, func(t *testing.T) {
						h, _ := restoredFrom(t, age, lost, newBoard("t"))
						time.Sleep(off)
						all, err := h.Losses(t.Context(), nil)
						if err != nil {
							t.Fatal(err)
						}
						for _, l := range all {
							room := ""
							if l.Full {
								room = cmp.Or(l.Idle(), older(l.Keys))
							}
							if _, err := h.Recover(t.Context(), l, room, "test"); err != nil {
								t.Fatal(err)
							}
						}
						h.inTime(t, 16*time.Minute, time.Hour)
					})
				})
			}
		}
	}
}

// TestARecoveryKeepsWhatReadersWereTold: right before the store was lost, no key
// could be made for a while, and the readers of a target were told how long the
// one that they have works on.
func TestARecoveryKeepsWhatReadersWereTold(t *testing.T) {
	for _, late := range []time.Duration{15 * time.Minute, 20 * time.Minute, 26 * time.Minute} {
		for _, gone := range []bool{false, true} { // the key in the copy is
			t.Run(fmt.Sprintf("%s late, the copy's key is gone: %v", late, gone), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					b := newBoard("t")
					h := newHouse("ci")
					h.Publishers = []rotate.Publisher{b}
					h.run(t, 9*time.Minute)
					copied, err := h.store.Load(t.Context(), "ci")
					if err != nil {
						t.Fatal(err)
					}
					h.run(t, 3*time.Minute)
					if gone {
						h.run(t, 4*time.Minute)
					}
					h.refuse(rotatetest.CreateKey)
					h.run(t, late)
					told := b.of("ci")
					now, err := h.store.Load(t.Context(), "ci")
					if err != nil {
						t.Fatal(err)
					}
					copied.Version = now.Version
					if _, err := h.store.Save(t.Context(), copied); err != nil {
						t.Fatal(err)
					}
					h.aws.Fault = nil
					l := h.loss(t)
					if len(l.Lost) != 1 || l.Lost[0] != told.KeyID || time.Until(told.Expiration) < 75*time.Second {
						t.Fatalf("lost are %v, readers were told %s until %s: the test shows nothing", l.Lost, told.KeyID, told.Expiration)
					}
					if _, err := h.Recover(t.Context(), l, "", "test"); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
					defer cancel()
					done := make(chan error, 1)
					go func() { done <- h.Run(ctx) }()
					for time.Until(told.Expiration) > time.Second {
						time.Sleep(time.Second)
						if !h.works(told) {
							t.Fatalf("the key that readers had stopped working %s before the Expiration that they were told", time.Until(told.Expiration))
						}
					}
					if err := <-done; err != nil {
						t.Fatal(err)
					}
					if h.works(told) {
						t.Error("the lost key works half an hour later")
					}
				})
			})
		}
	}
}
