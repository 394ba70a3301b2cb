package audit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestLivesSayWhenAKeyWasProven(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	var lines []Line
	for _, e := range []rotate.Event{
		{Time: at(0), Action: "create", Due: at(-1)},
		{Time: at(1), Action: "create", Key: "AKIA1", Due: at(-1), Reason: "slot_due", Result: "ok"},
		{Time: at(2), Action: "verify", Key: "AKIA1", Result: "refused"},
		{Time: at(4), Action: "verify", Key: "AKIA1", Result: "ok"},
		{Time: at(14), Action: "verify", Key: "AKIA1", Result: "ok"},
		{Time: at(15), Action: "promote", Key: "AKIA1"},
		{Time: at(15), Action: "promote", Key: "AKIA1", Result: "ok"},
		{Time: at(16), Action: "handout", Key: "AKIA1", Result: "ok"},
		{Time: at(700), Action: "verify", Key: "AKIA1", Result: "ok"}, // a roll-back asks once more
		{Time: at(720), Action: "deactivate", Key: "AKIA1", Due: at(719), Result: "ok"},
		{Time: at(900), Action: "delete", Key: "AKIA1", Result: "ok"},
		{Time: at(0), Action: "delete", Key: "AKIA0", Result: "ok"},
	} {
		e.User = "ci"
		lines = append(lines, Line{Event: e})
	}
	got, err := Lives(func(yield func(Line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}, at(10))
	if err != nil {
		t.Fatal(err)
	}
	want := []Life{{
		User: "ci", Key: "AKIA1", CreatePlanned: at(-1), Created: at(1), Verified: at(14), Promoted: at(15),
		DeactivatePlanned: at(719), Deactivated: at(720), Deleted: at(900), Handouts: 1, Reason: "slot_due",
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Lives() differs (-want +got):\n%s", d)
	}
}

// TestTheLifeOfAKeyThatWasRolledBackTo: it is promoted once more after it was made
// inactive, and is none of the keys that went inactive at that time.
func TestTheLifeOfAKeyThatWasRolledBackTo(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	events := []rotate.Event{
		{Time: at(1), Action: "create", Due: at(0)},
		{Time: at(2), Action: "promote"},
		{Time: at(600), Action: "deactivate", Due: at(599)},
		{Time: at(650), Action: "reactivate"},
		{Time: at(651), Action: "promote"},
	}
	lives := func() []Life {
		got, err := Lives(func(yield func(Line, error) bool) {
			for _, e := range events {
				if e.User, e.Key, e.Result = "ci", "AKIA1", "ok"; !yield(Line{Event: e}, nil) {
					return
				}
			}
		}, at(0))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := Life{User: "ci", Key: "AKIA1", CreatePlanned: at(0), Created: at(1), Promoted: at(2), Reactivated: at(650)}
	if d := cmp.Diff([]Life{want}, lives()); d != "" {
		t.Errorf("after the roll-back (-want +got):\n%s", d)
	}
	events = append(events, rotate.Event{Time: at(1300), Action: "deactivate", Due: at(1299)})
	want.Deactivated, want.DeactivatePlanned = at(1300), at(1299)
	if d := cmp.Diff([]Life{want}, lives()); d != "" {
		t.Errorf("at the end (-want +got):\n%s", d)
	}
}
