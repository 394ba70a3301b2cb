package plan

import (
	"testing"
	"time"
)

// TestHowLongReadersAreTold: the Expiration that readers of a target are told
// next of the key of slot 0, whose successor is due at minute 10.
func TestHowLongReadersAreTold(t *testing.T) {
	t.Parallel()
	// A promise of so long at the successor's slot keeps no other rotation waiting.
	const harmless = (15.0/2 - 3) * 3 / 4
	burned := with(deactivated("P", -2), func(k *Held) { k.Burned, k.Dead = at(10), at(10) })
	for _, row := range []struct {
		name      string
		beside    []Held
		told, now float64
		want      float64
	}{
		{"a successor is late", nil, 12, 11.5, 11.5 + harmless},
		{"it is later than that", nil, 14.5, 14, 14 + 4.5},
		{"it is late for long", nil, 30, 29.5, 29.5 + 10},
		{"nobody rotated for hours", nil, 12, 180, 180 + harmless},
		{"it is there, and is not proven yet", []Held{pendingKey("N", 11)}, 12, 11.5, 11 + harmless},
		{"it was made late, a moment ago, and is not proven yet", []Held{pendingKey("N", 40)}, 40.5, 40, 40 + harmless},
		{"it was made late, and proven a moment ago", []Held{with(proven(pendingKey("N", 40)), func(k *Held) { k.Proven = at(40) })}, 40.5, 40, 40 + harmless},
		{"it was proven, and nobody rotated for hours", []Held{with(pendingKey("N", 10), func(k *Held) { k.Proven = at(11) })}, 12, 180, 180 + 1},
		{"it is proven, and does not become current for long", []Held{with(pendingKey("N", 10), func(k *Held) { k.Proven = at(11) })}, 17, 16.5, 16.5 + 6},
		{"its place is free in a while", []Held{with(previous("P", -10), func(k *Held) { k.Promise = at(14 - 1.0/12) })}, 12, 11.5, 14 + 3 + harmless},
		{"its place is free in a while, for sure", []Held{with(previous("P", -10), func(k *Held) { k.Deactivated = at(11) })}, 12, 11.5, 11 + 3 + harmless},
		{"its place should be free", []Held{deactivated("P", -10)}, 12, 11.5, 11.5 + harmless},
		{"its place is free after more than an interval", []Held{with(previous("P", -10), func(k *Held) { k.Promise = at(60) })}, 12, 11.5, 11.5 + 10},
		{"a burned key goes when its place is needed", []Held{burned}, 12, 11.5, 11.5 + harmless},
	} {
		r := rec(append([]Held{current("A", 0)}, row.beside...)...)
		r.Targets = []Target{{Name: "t", KeyID: "A", Until: at(row.told), At: at(1)}}
		p := Policy{Outlets: []Outlet{{Name: "t", Required: true, Expires: true}}}
		got := r.Owed(p, "A", true, at(row.now))
		if len(got) != 1 || !got[0].Until.Equal(at(row.want)) {
			t.Errorf("%s: at minute %v, told until %v: owed is %v, want until %s", row.name, row.now, row.told, got, at(row.want).Format(time.TimeOnly))
		}
	}
	r := rec(current("A", 0))
	r.Targets, r.Gone = []Target{{Name: "t", KeyID: "A", Until: at(30), At: at(1)}}, []Tombstone{{ID: "P", At: at(29.25)}}
	p := Policy{Outlets: []Outlet{{Name: "t", Required: true, Expires: true}}}
	if got, want := r.Owed(p, "A", true, at(29.5))[0].Until, at(29.5+harmless); !got.Equal(want) {
		t.Errorf("its place became free a moment ago: owed is %s, want %s", got.Format(time.TimeOnly), want.Format(time.TimeOnly))
	}
}
