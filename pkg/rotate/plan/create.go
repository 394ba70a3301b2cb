package plan

import (
	"slices"
	"time"
)

// create decides on a new key: is one due, is there room, is the outcome of
// every earlier call known.
func (d *decision) create() *Step {
	if k := d.r.In(Pending); k != nil {
		if d.r.Order != nil && d.r.Order.Kind == Force {
			return d.step(Dismiss, k.ID, OrderDone) // the rotation under way is the one
		}
		return nil
	}
	due, why := d.createDue()
	if d.now.Before(due) {
		return d.later(NotDue, "", due)
	}
	frozen := d.p.Frozen
	if !d.r.Released.IsZero() {
		frozen = IsReleased
	}
	if frozen != "" && (why == SlotDue || why == NoCurrent && !d.bereft()) {
		return d.later(frozen, "", d.now.Add(min(time.Minute, d.p.RotateEvery)))
	}
	return d.createNow(due, why)
}

// createDue returns when the next key is due and why. An instant in the past
// is due now.
func (d *decision) createDue() (time.Time, Reason) {
	cur := d.r.In(Current)
	switch {
	case d.r.Order != nil && d.r.Order.Kind == Force:
		return earliest(d.r.Order.At, d.now), Ordered // it may have been dated a moment too late
	case cur == nil && d.r.Order != nil && d.r.Order.Kind == Recover:
		return earliest(d.r.Order.At, d.now), Recovering // also in a maintenance window
	case cur == nil:
		return d.now, NoCurrent
	case !cur.Broken.IsZero():
		return cur.Broken, CurrentBroken
	case d.r.Slot.IsZero():
		return d.now, SlotDue // imported, never rotated
	case cur.Slot.Before(d.r.Slot) && d.r.leakedAny():
		return d.p.NextSlot(cur.Slot), SlotDue // the newer one was burned: this one is old already
	}
	return d.p.NextSlot(d.r.Slot), SlotDue
}

func (d *decision) createNow(due time.Time, why Reason) *Step {
	n, blocker := d.occupied()
	if again := d.outcome(n); d.now.Before(again) {
		return d.later(LostCreate, "", again)
	}
	if n >= Quota {
		if s := d.deleted(); s != nil {
			return s
		}
		again := d.now.Add(d.p.Lag)
		if d.wait.Action != "" && d.wait.Wake.After(d.now) {
			again = d.wait.Wake
		}
		reason := NoRoom
		switch {
		case d.r.orphan(blocker) != nil:
			reason = LostCreate
		case d.r.Key(blocker) == nil:
			reason = ForeignKey
		case d.now.Sub(due) < d.p.Overlap()/2:
			reason = MakingRoom
		}
		return d.later(reason, blocker, again)
	}
	if !d.identified() {
		return d.step(Identify, "", why)
	}
	slot := d.now
	if why == SlotDue {
		slot = d.p.slotAt(due, d.now)
	}
	return &Step{Action: Create, Reason: why, Due: due, Slot: slot}
}

// deleted forgets the Current key if AWS refuses it and IAM no longer lists it:
// somebody deleted it, and its slot is needed. If there are keys that may be
// keyrot's own, the record is an older copy, and a person decides: see recover.
func (d *decision) deleted() *Step {
	cur := d.r.In(Current)
	if cur == nil || cur.Broken.IsZero() || d.listed(cur.ID) != nil || slices.ContainsFunc(d.Keys, d.Lost) {
		return nil
	}
	if again := latest(cur.Broken, cur.Made).Add(2 * d.p.Lag); d.now.Before(again) { // the list may lag
		return d.later(CurrentBroken, cur.ID, again)
	}
	return d.ours(d.step(Forget, cur.ID, Vanished))
}

// outcome returns when a call may be made after others whose answers were lost,
// with n keys in the user's slots. What those made shows in IAM's list only after
// a while; until then another call could fill the second slot. If there is but
// one free slot, another call does no harm: it makes the one key that there can
// be, or IAM refuses it; nor does it if all of them leave room for it. That is
// for users who have nothing to be handed out.
func (d *decision) outcome(n int) time.Time {
	var sure, soon time.Time
	open := 0
	for _, in := range d.r.Intents {
		if end := in.Until.Add(d.p.Lag); d.now.Before(end) {
			sure, soon = latest(sure, end), latest(soon, in.At.Add(burnRepeat))
			open++
		}
	}
	cur := d.r.In(Current)
	hurry := d.bereft() || cur != nil && !d.r.leaked(cur).IsZero()
	if free := Quota - n; hurry && (open < free || free == 1 && open < hurried) {
		return soon
	}
	return sure
}

// lostCalls is when calls that were to create a key and got no answer are over.
// No slot is given up before: one that has its effect late would take it, and
// nobody could tell whose the two keys are.
func (d *decision) lostCalls() time.Time {
	var over time.Time
	for _, in := range d.r.Intents {
		over = latest(over, in.Until)
	}
	return over
}

// hurried is how many calls in a row may be lost in a hurry.
const hurried = int(burnPatience / burnRepeat)

// occupied counts the keys that take a slot: those listed and those held that
// the list may not show yet. Keys whose deletion was acknowledged do not
// count. blocker is one of them that stands in the way, a foreign one first.
func (d *decision) occupied() (n int, blocker string) {
	for _, k := range d.Keys {
		if d.r.Key(k.ID) == nil && d.r.tombstone(k.ID) == nil {
			n++
			blocker = k.ID
		}
	}
	for _, k := range d.r.Keys {
		n++
		if blocker == "" && k.Stage != Current {
			blocker = k.ID
		}
	}
	return n, blocker
}
