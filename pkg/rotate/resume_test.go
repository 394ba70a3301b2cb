package rotate_test

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
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
