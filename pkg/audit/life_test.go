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
