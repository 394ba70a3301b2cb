package plan

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// at is the instant m minutes into the test.
func at(m float64) time.Time { return t0.Add(time.Duration(m * float64(time.Minute))) }

func active(id string, m float64) Key   { return Key{ID: id, Status: Active, Created: at(m)} }
func inactive(id string, m float64) Key { return Key{ID: id, Status: Inactive, Created: at(m)} }

// The life of a key that was created at slot m, up to each stage.
func pendingKey(id string, m float64) Held {
	return Held{ID: id, Stage: Pending, Slot: at(m), Created: at(m), Made: at(m)}
}

func proven(k Held) Held {
	k.Proven, k.Confirmed = k.Made.Add(2*time.Second), k.Made.Add(14*time.Second)
	return k
}

func current(id string, m float64) Held {
	k := proven(pendingKey(id, m))
	k.Stage, k.Promoted = Current, k.Confirmed
	k.Promise = k.Slot.Add(12*time.Minute - 5*time.Second)
	return k
}

func previous(id string, m float64) Held {
	k := current(id, m)
	k.Stage = Previous
	return k
}

// checked is a current key that AWS has accepted at minute now.
func checked(id string, m, now float64) Held {
	k := current(id, m)
	k.Probed = at(now)
	return k
}

func deactivated(id string, m float64) Held {
	k := previous(id, m)
	k.Deactivated = k.Slot.Add(12 * time.Minute)
	return k
}

func with(k Held, f func(*Held)) Held {
	f(&k)
	return k
}

// rec is a record whose newest slot is the newest key's.
func rec(keys ...Held) Record {
	r := Record{User: "ci", UserID: "AIDA1", Enrolled: at(-100), Keys: keys}
	for _, k := range keys {
		r.Slot = latest(r.Slot, k.Slot)
	}
	return r
}

func (r Record) intent(m float64, seen ...string) Record {
	r.Intents = append(r.Intents, Intent{ID: "i", At: at(m), Until: at(m).Add(15 * time.Second), Slot: at(m), Seen: seen})
	return r
}

func (r Record) orphaned(id string, m float64) Record {
	r.Orphans = append(r.Orphans, Tombstone{ID: id, At: at(m)})
	return r
}

func foreign(r Record, ids ...string) Record {
	r.Foreign = ids
	return r
}

func (r Record) ordered(kind OrderKind, key string, m float64) Record {
	r.Order = &Order{Kind: kind, KeyID: key, At: at(m)}
	return r
}

func used(k Key, m float64) Key {
	k.Usage = Usage{Known: true, LastUsed: at(m)}
	return k
}

func unused(k Key) Key {
	k.Usage = Usage{Known: true}
	return k
}

func surveyed(k Key, holders ...string) Key {
	k.Usage = Usage{Surveyed: true, Holders: holders}
	return k
}

const s = 1.0 / 60 // a second, in minutes

func TestNext(t *testing.T) {
	t.Parallel()
	hold := Policy{OnInUse: Hold}.WithDefaults()
	tests := []struct {
		name   string
		rec    Record
		keys   []Key
		policy Policy
		now    time.Time
		want   Action
		key    string
		reason Reason
	}{
		// The ordinary life.
		{"a new user gets a key at once, once IAM has said who it is", rec(), nil, Policy{}, at(0), Identify, "", NoCurrent},
		{"a new key is proven first", rec(pendingKey("A", 0)), []Key{active("A", 0)}, Policy{}, at(0), Verify, "A", Unproven},
		{"a proven key settles", rec(with(pendingKey("A", 0), func(k *Held) { k.Proven = at(1 * s) })), []Key{active("A", 0)}, Policy{}, at(5 * s), Wait, "A", Settling},
		{"confirming begins so early that its last call comes after settling", rec(with(pendingKey("A", 0), func(k *Held) { k.Proven = at(1 * s) })), []Key{active("A", 0)}, Policy{ProofSpan: time.Second}, at(10 * s), Verify, "A", Unconfirmed},
		{"but not earlier", rec(with(pendingKey("A", 0), func(k *Held) { k.Proven = at(1 * s) })), []Key{active("A", 0)}, Policy{ProofSpan: time.Second}, at(9.5 * s), Wait, "A", Settling},
		{"a key that was confirmed sooner settles all the same", rec(with(pendingKey("A", 0), func(k *Held) { k.Proven, k.Confirmed = at(1*s), at(10*s) })), []Key{active("A", 0)}, Policy{ProofSpan: time.Second}, at(10.5 * s), Wait, "A", Settling},
		{"after settling it is proven once more", rec(with(pendingKey("A", 0), func(k *Held) { k.Proven = at(1 * s) })), []Key{active("A", 0)}, Policy{}, at(11 * s), Verify, "A", Unconfirmed},
		{"a confirmed key is published", rec(proven(pendingKey("A", 0))), []Key{active("A", 0)}, Policy{Outlets: []Outlet{{Name: "t", Required: true}}}, at(0.5), Publish, "A", Unpublished},
		{"a confirmed key without publishers is promoted", rec(proven(pendingKey("A", 0))), []Key{active("A", 0)}, Policy{}, at(0.5), Promote, "A", Ready},
		{"a confirmed key that IAM does not list is proven once more, because readers may have it", rec(current("A", 10), proven(pendingKey("B", 18))), []Key{active("A", 10)}, Policy{}, at(20), Verify, "B", Unconfirmed},
		{"an old confirmation is repeated before promotion", rec(proven(pendingKey("A", 0))), []Key{active("A", 0)}, Policy{}, at(6), Verify, "A", Unconfirmed},
		{"nothing to do in the middle of an interval", rec(current("A", 0)), []Key{active("A", 0)}, Policy{}, at(5), Wait, "", NotDue},
		{"a rotation begins at the slot", rec(current("A", 0)), []Key{active("A", 0)}, Policy{}, at(10), Create, "", SlotDue},
		{"the old key stays until its age is reached", rec(previous("A", 0), current("B", 10)), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11.9), Wait, "A", NotDue},
		{"who holds the old key is asked before it is deactivated", rec(previous("A", 0), current("B", 10)), []Key{active("A", 0), active("B", 10)}, Policy{}, at(12), Survey, "A", Superseded},
		{"the successor is asked for again if it was accepted a minute ago, in the pass before", rec(previous("A", 0), checked("B", 10, 11)), []Key{surveyed(active("A", 0)), active("B", 10)}, Policy{}, at(12), Probe, "B", Unchecked},
		{"the old key is deactivated at its age", rec(previous("A", 0), checked("B", 10, 12)), []Key{surveyed(active("A", 0)), active("B", 10)}, Policy{}, at(12), Deactivate, "A", Superseded},
		{"an inactive key waits out its grace", rec(deactivated("A", 0), current("B", 10)), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(14.9), Wait, "A", NotDue},
		{"an inactive key is deleted at its age", rec(deactivated("A", 0), current("B", 10)), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(15), Delete, "A", GraceOver},

		// Late is safe, early is an outage.
		{"no deactivation before the latest promise has passed", rec(with(previous("A", 0), func(k *Held) { k.Promise = at(20) }), current("B", 10)), []Key{surveyed(active("A", 0)), active("B", 10)}, Policy{}, at(19), Wait, "", NotDue},
		{"no deactivation without a successor: it is served again if AWS accepts it", rec(previous("A", 0)), []Key{surveyed(active("A", 0))}, Policy{}, at(30), Verify, "A", NoCurrent},
		{"and if AWS does not, there is a new one", rec(with(previous("A", 0), func(k *Held) { k.Refused, k.Again = at(29), at(31) })), []Key{surveyed(active("A", 0))}, Policy{}, at(30), Create, "", NoCurrent},
		{"a successor that IAM lists as inactive is asked about", rec(previous("A", 0), current("B", 10)), []Key{surveyed(active("A", 0)), inactive("B", 10)}, Policy{}, at(12), Probe, "B", ListDisagrees},
		{"a successor that AWS refuses is none", rec(with(previous("A", 0), func(k *Held) { k.Again = at(13) }), with(current("B", 10), func(k *Held) { k.Broken = at(11) })), []Key{surveyed(active("A", 0)), inactive("B", 10)}, Policy{}, at(12), Wait, "A", CurrentBroken},
		{"a refused key gives way to the one before it, if that is accepted", rec(previous("A", 0), with(current("B", 10), func(k *Held) { k.Broken = at(11) })), []Key{active("A", 0), inactive("B", 10)}, Policy{}, at(11.1), Verify, "A", CurrentBroken},
		{"and then that one is handed out again", rec(with(previous("A", 0), func(k *Held) { k.Confirmed = at(11.1) }), with(current("B", 10), func(k *Held) { k.Broken = at(11) })), []Key{active("A", 0), inactive("B", 10)}, Policy{}, at(11.2), Promote, "A", CurrentBroken},
		{"a late deactivation keeps its whole grace", rec(with(deactivated("A", 0), func(k *Held) { k.Deactivated = at(19) }), current("B", 18)), []Key{inactive("A", 0), active("B", 18)}, Policy{}, at(21), Wait, "A", NotDue},
		{"a key reactivated by hand is not deleted while active", rec(deactivated("A", 0), checked("B", 10, 15)), []Key{surveyed(active("A", 0)), active("B", 10)}, Policy{}, at(15), Deactivate, "A", Superseded},

		// A crash leaves a world.
		{"an orphan's use is looked up", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), active("X", 10)}, Policy{}, at(11), Inspect, "X", Orphan},
		{"an unused orphan is made inactive first", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), unused(active("X", 10))}, Policy{}, at(11), Deactivate, "X", Orphan},
		{"an inactive key makes room although a longer schedule would keep it", rec(with(deactivated("A", 0), func(k *Held) { k.Deactivated = at(1) }), current("B", 20)), []Key{inactive("A", 0), active("B", 20)}, Policy{RotateEvery: time.Hour, DeactivateAfter: 70 * time.Minute, DeleteAfter: 120 * time.Minute}, at(81), Delete, "A", GraceOver},
		{"an orphan is not touched before it is known whose list this is", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), unused(active("X", 10))}, Policy{}, at(11), Identify, "", Orphan},
		{"nor is a held key forgotten", rec(deactivated("A", 0), current("B", 10)), []Key{active("B", 10)}, Policy{}, at(15), Identify, "", Vanished},
		{"an orphan stays inactive for a while", rec(current("A", 0)).intent(10, "A").orphaned("X", 11), []Key{active("A", 0), inactive("X", 10)}, Policy{}, at(12.9), Wait, "X", LostCreate},
		{"an unused orphan dies", rec(current("A", 0)).intent(10, "A").orphaned("X", 11), []Key{active("A", 0), unused(inactive("X", 10))}, Policy{}, at(13), Delete, "X", Orphan},
		{"an orphan dies also when its intent is forgotten", rec(current("A", 0)).orphaned("X", 11), []Key{active("A", 0), unused(inactive("X", 10))}, Policy{}, at(13), Delete, "X", Orphan},
		{"the list may show an orphan as active for a while", rec(current("A", 0)).intent(10, "A").orphaned("X", 11), []Key{active("A", 0), active("X", 10)}, Policy{}, at(12.9), Wait, "X", LostCreate},
		{"an orphan that its owner made active again is foreign", rec(current("A", 0)).intent(10, "A").orphaned("X", 11), []Key{active("A", 0), unused(active("X", 10))}, Policy{}, at(13), Notice, "X", ForeignKey},
		{"an orphan that only an old list showed as active is made inactive anew", foreign(rec(current("A", 0)).intent(10, "A").orphaned("X", 11), "X"), []Key{active("A", 0), unused(inactive("X", 10))}, Policy{}, at(14), Deactivate, "X", Orphan},
		{"its use is looked up before", foreign(rec(current("A", 0)).orphaned("X", 11), "X"), []Key{active("A", 0), inactive("X", 10)}, Policy{}, at(14), Inspect, "X", Orphan},
		{"a foreign key that is in use is not taken for an orphan again", foreign(rec(checked("A", 10, 14)).orphaned("X", 11), "X"), []Key{active("A", 10), used(inactive("X", 10), 12)}, Policy{}, at(14), Wait, "", NotDue},
		{"one that is active for longer than a list can be old has an owner", foreign(rec(current("A", 0)).orphaned("X", 11), "X"), []Key{active("A", 0), active("X", 10)}, Policy{}, at(26), Notice, "X", Reclaimed},
		{"an orphan that turns out to be in use is made active again", rec(current("A", 0)).intent(10, "A").orphaned("X", 11), []Key{active("A", 0), used(inactive("X", 10), 10.5)}, Policy{}, at(13), Reactivate, "X", ForeignKey},
		{"of two keys for one lost call one may be gone and listed still", rec().intent(10), []Key{unused(active("X", 10)), unused(active("Y", 10.1))}, Policy{}, at(11), Wait, "", LostCreate},
		{"of two keys for one lost call neither is touched", rec().intent(10), []Key{unused(active("X", 10)), unused(active("Y", 10.1))}, Policy{}, at(13), Notice, "X", ForeignKey},
		{"one that was touched before the other was listed is made active again", rec().intent(10).orphaned("X", 11), []Key{unused(inactive("X", 10)), unused(active("Y", 10.1))}, Policy{}, at(13), Reactivate, "X", ForeignKey},
		{"nor is the second once the first was told", Record{User: "ci", UserID: "AIDA1", Foreign: []string{"X"}}.intent(10), []Key{unused(active("X", 10)), unused(active("Y", 10.1))}, Policy{}, at(13), Notice, "Y", ForeignKey},
		{"two keys for two lost calls are both orphans", rec().intent(10).intent(10.2), []Key{unused(active("X", 10)), unused(active("Y", 10.3))}, Policy{}, at(11), Deactivate, "X", Orphan},
		{"a used key in the window is somebody else's", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), used(active("X", 10), 10.5)}, Policy{}, at(11), Notice, "X", ForeignKey},
		{"while the call may be under way nothing is deleted", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), unused(active("X", 10))}, Policy{}, at(10.1), Wait, "X", LostCreate},
		{"after a lost call the list may lag: no second call", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0)}, Policy{}, at(11), Wait, "", LostCreate},
		{"when nothing shows the call is made again", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0)}, Policy{}, at(12), Create, "", SlotDue},
		{"a key outside every intent's window is foreign", rec(current("A", 0)).intent(10, "A"), []Key{active("A", 0), unused(active("X", 2))}, Policy{}, at(11), Notice, "X", ForeignKey},
		{"a key seen before the call is foreign", rec(current("A", 0)).intent(10, "A", "X"), []Key{active("A", 0), unused(active("X", 10))}, Policy{}, at(11), Notice, "X", ForeignKey},
		{"a deletion that was not recorded is forgotten", rec(deactivated("A", 0), current("B", 10)), []Key{active("B", 10)}, Policy{}, at(15), Forget, "A", Vanished},
		{"a deactivation that was not recorded is repeated", rec(previous("A", 0), checked("B", 10, 12.1)), []Key{surveyed(inactive("A", 0)), active("B", 10)}, Policy{}, at(12.1), Deactivate, "A", Superseded},
		{"a new key that is never accepted is given up", rec(current("A", 0), with(pendingKey("B", 10), func(k *Held) { k.Refused, k.Again, k.Tries = at(10.1), at(21.2), 7 })), []Key{active("A", 0), active("B", 10)}, Policy{}, at(20.2), Delete, "B", NeverAccepted},
		{"but not because nobody has asked since", rec(current("A", 0), with(pendingKey("B", 10), func(k *Held) { k.Refused = at(10.1) })), []Key{active("A", 0), active("B", 10)}, Policy{}, at(20.2), Verify, "B", Unproven},
		{"a new key that somebody made inactive is given up", rec(current("A", 0), pendingKey("B", 10)), []Key{active("A", 0), inactive("B", 10)}, Policy{}, at(12), Delete, "B", SpoiltPending},

		// Other people.
		{"a foreign key is told once", with2(rec(current("A", 0)), func(r *Record) { r.Foreign = []string{"X"} }), []Key{active("A", 0), active("X", 2)}, Policy{}, at(5), Wait, "", NotDue},
		{"a foreign key in the way stops rotation, not service", with2(rec(current("A", 0)), func(r *Record) { r.Foreign = []string{"X"} }), []Key{active("A", 0), active("X", 2)}, Policy{}, at(10), Wait, "X", ForeignKey},
		{"a foreign key that went away is told", with2(rec(current("A", 0)), func(r *Record) { r.Foreign = []string{"X"} }), []Key{active("A", 0)}, Policy{}, at(5), Notice, "X", Vanished},
		{"a served key missing from the list is asked about", rec(current("A", 0)), nil, Policy{}, at(5), Probe, "A", ListDisagrees},
		{"a served key that is refused is replaced at once", rec(with(current("A", 0), func(k *Held) { k.Broken = at(5) })), []Key{inactive("A", 0)}, Policy{}, at(5.1), Create, "", CurrentBroken},
		{"the served key of a restored copy is asked about first", rec(current("A", 0)).ordered(Recover, "", 5), []Key{active("A", 0)}, Policy{Outlets: outlets}, at(5.1), Probe, "A", Unchecked},
		{"a served key that somebody deleted leaves its slot if that is needed", foreign(rec(with(current("A", 0), func(k *Held) { k.Broken = at(5) })), "X"), []Key{active("X", -100)}, Policy{}, at(7.1), Forget, "A", Vanished},
		{"but not while IAM's list may lag", foreign(rec(with(current("A", 0), func(k *Held) { k.Broken = at(5) })), "X"), []Key{active("X", -100)}, Policy{}, at(6.9), Wait, "A", CurrentBroken},
		{"callers that hold the key make it wait", rec(previous("A", 0), current("B", 10)), []Key{surveyed(active("A", 0), "batch"), active("B", 10)}, hold, at(12.1), Wait, "A", InUse},
		{"but not longer than max_hold", rec(previous("A", 0), checked("B", 10, 72)), []Key{surveyed(active("A", 0), "batch"), active("B", 10)}, hold, at(72), Deactivate, "A", Superseded},
		{"with force nobody is asked", rec(previous("A", 0), checked("B", 10, 12)), []Key{active("A", 0), active("B", 10)}, Policy{OnInUse: Press}, at(12), Deactivate, "A", Superseded},

		{"a user that is being let go is not rotated", with2(rec(current("A", 0)), func(r *Record) { r.Released = at(3) }), []Key{active("A", 0)}, Policy{}, at(30), Wait, "", IsReleased},

		// Orders.
		{"force rotates before the slot", rec(current("A", 0)).ordered(Force, "", 3), []Key{active("A", 0)}, Policy{}, at(3), Create, "", Ordered},
		{"force waits for room", rec(deactivated("A", 0), current("B", 10)).ordered(Force, "", 13), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(13), Wait, "A", MakingRoom},
		{"and says so if it takes long", rec(deactivated("A", 0), current("B", 10)).ordered(Force, "", 13), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(14.1), Wait, "A", NoRoom},
		{"force during a rotation is that rotation", rec(current("A", 0), pendingKey("B", 10)).ordered(Force, "", 10.1), []Key{active("A", 0), active("B", 10)}, Policy{}, at(10.2), Verify, "B", Unproven},
		{"rollback reactivates the previous key", rec(deactivated("A", 0), current("B", 10)).ordered(Rollback, "A", 13), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(13), Reactivate, "A", Ordered},
		{"rollback proves the previous key again", rec(previous("A", 0), current("B", 10)).ordered(Rollback, "A", 11), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11), Verify, "A", Ordered},
		{"rollback repoints", rec(with(previous("A", 0), func(k *Held) { k.Confirmed = at(11.1) }), current("B", 10)).ordered(Rollback, "A", 11), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11.2), Promote, "A", Ordered},
		{"rollback to a key that is gone is pointless", rec(current("B", 10)).ordered(Rollback, "A", 16), []Key{active("B", 10)}, Policy{}, at(16), Dismiss, "A", OrderPointless},
		{"burn makes a new key first if it can", rec(current("A", 0)).ordered(Burn, "A", 3), []Key{active("A", 0)}, Policy{}, at(3), Create, "", Burning},
		{"burn makes room by deleting an inactive key", rec(deactivated("A", 0), current("B", 10)).ordered(Burn, "B", 13), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(13), Delete, "A", Burning},
		{"burn falls back on the previous key that still works", rec(previous("A", 0), current("B", 10)).ordered(Burn, "B", 11), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11), Verify, "A", Burning},
		{"burn promotes a proven key without settling", rec(current("A", 0), with(pendingKey("B", 10), func(k *Held) { k.Proven = at(10.1) })).ordered(Burn, "A", 10), []Key{active("A", 0), active("B", 10)}, Policy{}, at(10.1), Promote, "B", Burning},
		{"burn ignores promises", rec(previous("A", 0), current("B", 10)).ordered(Burn, "A", 11), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11), Deactivate, "A", Burning},
		{"burn asks a previous key that IAM lists as inactive, for the list may be old", rec(previous("A", 0), current("B", 10)).ordered(Burn, "B", 11), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(11), Verify, "A", Burning},
		{"and deletes it for room when AWS refuses it", rec(with(previous("A", 0), func(k *Held) { k.Refused = at(11) }), current("B", 10)).ordered(Burn, "B", 11), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(11), Delete, "A", Burning},
		{"burn ignores a back-off", with2(rec(current("A", 0)).ordered(Burn, "A", 3), func(r *Record) { r.RetryAt = at(4) }), []Key{active("A", 0)}, Policy{}, at(3), Create, "", Burning},
		{"a burned key is asked until AWS refuses it", rec(with(deactivated("A", 0), func(k *Held) { k.Burned = at(12) }), current("B", 10)), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(12), Check, "A", Burning},
		{"a burned key that AWS goes on accepting is made inactive again", rec(with(deactivated("A", 0), func(k *Held) { k.Burned, k.Probed = at(12), at(12.2) }), current("B", 10)), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(12.2), Deactivate, "A", Burning},
		{"a burned key is kept until AWS refuses it", rec(with(deactivated("A", 0), func(k *Held) { k.Burned, k.Again = at(12), at(16) }), current("B", 10)), []Key{inactive("A", 0), active("B", 10)}, Policy{}, at(15), Wait, "A", Burning},
		{"a burned key that somebody makes active again is made inactive again", rec(with(deactivated("A", 0), func(k *Held) { k.Burned, k.Dead = at(12), at(12.1) }), current("B", 10)), []Key{active("A", 0), active("B", 10)}, Policy{}, at(13.2), Deactivate, "A", Burning},
		{"burn does not wait for a replacement for ever", rec(current("A", 0)).ordered(Burn, "A", 3), []Key{active("A", 0)}, Policy{}, at(4), Deactivate, "A", Burning},
		{"a paused user is burned nevertheless", with2(rec(previous("A", 0), current("B", 10)).ordered(Burn, "A", 11), func(r *Record) { r.Pause = &Pause{Since: at(1)} }), []Key{active("A", 0), active("B", 10)}, Policy{}, at(11), Deactivate, "A", Burning},
		{"a paused user is left alone", with2(rec(current("A", 0)), func(r *Record) { r.Pause = &Pause{Since: at(1)} }), []Key{active("A", 0)}, Policy{}, at(30), Wait, "", IsPaused},
		{"a pause ends by itself", with2(rec(current("A", 0)), func(r *Record) { r.Pause = &Pause{Since: at(1), Until: at(20)} }), []Key{active("A", 0)}, Policy{}, at(20), Create, "", SlotDue},
		{"in a maintenance window nothing new is begun", rec(current("A", 0)), []Key{active("A", 0)}, Policy{Frozen: IsFrozen}, at(30), Wait, "", IsFrozen},

		// Keys from before.
		{"a key from before is looked at", rec(with(pendingKey("O", -5000), func(k *Held) { k.Stage = Retiring }), current("A", 0)), []Key{active("O", -5000), active("A", 0)}, Policy{}, at(1), Inspect, "O", Idle},
		{"it waits for its successor, and why that is late is said", rec(with(pendingKey("O", -5000), func(k *Held) { k.Stage = Retiring }), with(pendingKey("A", 0), func(k *Held) { k.Again = at(2) })), []Key{active("O", -5000), active("A", 0)}, Policy{}, at(1), Wait, "A", Unproven},
		{"it retires once idle", rec(with(pendingKey("O", -5000), func(k *Held) { k.Stage = Retiring }), current("A", 0)), []Key{used(active("O", -5000), -2000), active("A", 0)}, Policy{}, at(1), Retire, "O", Idle},
		{"it stays while it is used", rec(with(pendingKey("O", -5000), func(k *Held) { k.Stage = Retiring; k.Surveyed = at(0) }), current("A", 0)), []Key{active("O", -5000), active("A", 0)}, Policy{}, at(1), Wait, "O", NotRetired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := World{Record: tt.rec, UserID: tt.rec.UserID, Keys: tt.keys}
			if tt.want == Identify {
				w.UserID = ""
			}
			got := Next(w, tt.policy, tt.now)
			if got.Action != tt.want || got.KeyID != tt.key || got.Reason != tt.reason {
				t.Errorf("Next() = %s %q because %s, want %s %q because %s", got.Action, got.KeyID, got.Reason, tt.want, tt.key, tt.reason)
			}
			if got.Action == Wait && !got.Wake.After(tt.now) {
				t.Errorf("Next() waits until %v, which is not after now", got.Wake)
			}
		})
	}
}

func with2(r Record, f func(*Record)) Record {
	f(&r)
	return r
}

func TestNextLeavesStrangersAlone(t *testing.T) {
	t.Parallel()
	w := World{Record: rec(current("A", 0)), UserID: "AIDA2", Keys: []Key{active("A", 0)}}
	if got := Next(w, Policy{}, at(10)); got.Action != Wait || got.Reason != Stranger {
		t.Errorf("Next() of a re-created user = %s because %s, want wait because %s", got.Action, got.Reason, Stranger)
	}
	w = World{Record: rec(current("A", 0)), Absent: true}
	if got := Next(w, Policy{}, at(10)); got.Action != Wait || got.Reason != UserGone {
		t.Errorf("Next() of a deleted user = %s because %s, want wait because %s", got.Action, got.Reason, UserGone)
	}
}

func TestCreateKeepsToTheSlot(t *testing.T) {
	t.Parallel()
	p := Policy{}.WithDefaults()
	for _, tt := range []struct {
		name      string
		now, slot float64
	}{
		{"on time", 10, 10},
		{"a little late: counts from its slot", 11, 10},
		{"very late: counts from now", 17, 17},
		{"a missed slot: counts from the newest one", 31, 30},
	} {
		w := World{Record: rec(current("A", 0)), UserID: "AIDA1", Keys: []Key{active("A", 0)}}
		p.Phase = time.Duration(t0.UnixNano() % int64(p.RotateEvery))
		got := Next(w, p, at(tt.now))
		if got.Action != Create || !got.Slot.Equal(at(tt.slot)) {
			t.Errorf("%s: Next() = %s with slot %s, want create with slot %s", tt.name, got.Action, got.Slot, at(tt.slot))
		}
	}
}

// TestAnOldListDoesNotPutADeletionOff: a list that still shows a key as active is
// a reason to look again when the key is due to be deleted, not to forget it
// until something else is due.
func TestAnOldListDoesNotPutADeletionOff(t *testing.T) {
	t.Parallel()
	for _, now := range []float64{12.1, 13.5, 14.9} {
		w := World{Record: rec(deactivated("A", 0), checked("B", 10, now)), UserID: "AIDA1", Keys: []Key{surveyed(active("A", 0)), active("B", 10)}}
		if s := Next(w, Policy{}, at(now)); s.Action != Wait || !s.Wake.Equal(at(15)) {
			t.Errorf("minute %v: %+v, want a wait until minute 15", now, s)
		}
	}
}
