package plan

import "testing"

// TestNoSlotIsGivenUpDuringALostCall: a lost CreateAccessKey that has its effect
// late would take the slot, and nobody could tell whose the key is.
func TestNoSlotIsGivenUpDuringALostCall(t *testing.T) {
	t.Parallel()
	dead := with(deactivated("A", 0), func(k *Held) { k.Burned, k.Dead = at(11), at(12) })
	leaked := with(current("A", 0), func(k *Held) { k.Burned = at(20) })
	ending := with(previous("B", -10), func(k *Held) { k.Ending = at(21) })
	for _, row := range []struct {
		name string
		r    Record
		keys []Key
		now  float64
	}{
		{"the slot of a burned key", rec(dead), []Key{inactive("A", 0), inactive("X", 20)}, 20},
		{"the slot of a key that is over", rec(current("B", 10), deactivated("A", 0)), []Key{active("B", 10), inactive("A", 0)}, 20},
		{"the slot of a key that stands in a burn's way", rec(leaked, deactivated("B", -10)), []Key{active("A", 0), inactive("B", -10)}, 20},
		{"the slot of a key that a lost call has ended", rec(leaked, ending), []Key{active("A", 0), inactive("B", -10)}, 20},
	} {
		w := World{Record: row.r.intent(row.now, "A", "B"), UserID: "AIDA1", Keys: row.keys}
		for i := range w.Record.Keys {
			w.Record.Keys[i].Probed = at(row.now)
		}
		w.Record.Orphans = []Tombstone{{ID: "X", At: at(row.now)}}
		end := row.now + 0.25 // of the lost call
		if got := Next(w, Policy{}, at(row.now+5*s)); got.Action == Delete {
			t.Errorf("%s: Next() while the call may be under way = %s %s because %s", row.name, got.Action, got.KeyID, got.Reason)
		}
		if got := Next(w, Policy{}, at(end+s)); got.Action != Delete {
			t.Errorf("%s: Next() after that = %s %s because %s, want delete", row.name, got.Action, got.KeyID, got.Reason)
		}
	}
}
