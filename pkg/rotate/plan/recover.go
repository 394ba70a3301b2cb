package plan

import (
	"slices"
	"time"
)

// recovered forgets what is not known any more after a restore: what publishers'
// targets hold, and whether AWS refuses a new key, which was handed out since,
// maybe.
func (r *Record) recovered() {
	r.unpublish()
	if k := r.In(Pending); k != nil {
		k.Refused, k.Again, k.Tries = time.Time{}, time.Time{}, 0
	}
}

// copied asks STS about the Current key once there is an order to recover, before
// it is published or handed out on: what an older copy says of it may not be
// true any more.
func (d *decision) copied() *Step {
	cur := d.r.unsure()
	switch {
	case cur == nil:
		return nil
	case d.now.Before(d.r.RetryAt):
		return d.sleep(BackingOff, d.r.RetryAt)
	}
	return d.step(Probe, cur.ID, Unchecked)
}

// unsure returns the Current key if AWS was not asked about it since an order to
// recover; nil: it was, or there is no such order or key.
func (r *Record) unsure() *Held {
	cur := r.In(Current)
	if r.Order == nil || r.Order.Kind != Recover || cur == nil || !cur.Broken.IsZero() ||
		!latest(cur.Confirmed, cur.Probed).Before(r.Order.At) {
		return nil
	}
	return cur
}

// recover carries out an order to replace the keys whose secrets were lost,
// because the store is an older copy. They are kept as Previous ones for as long
// as anything may have been promised for them, and a new key is made beside
// them. If there is no room for it, the key that the order names leaves its
// slot, but never the last one that works. The order ends when a key is served
// again.
func (d *decision) recover() *Step {
	o := d.r.Order
	if o == nil || o.Kind != Recover {
		return nil
	}
	cur := d.r.In(Current)
	for _, k := range d.Keys {
		if d.lost(k) {
			return d.ours(d.step(Adopt, k.ID, Recovering))
		}
	}
	if d.successor() != nil {
		return d.step(Dismiss, o.KeyID, OrderDone)
	}
	if cur != nil && !cur.Broken.IsZero() && d.listed(cur.ID) == nil { // deleted since the copy was made
		if again := cur.Made.Add(2 * d.p.Lag); d.now.Before(again) {
			return d.later(Recovering, cur.ID, again)
		}
		return d.ours(d.step(Forget, cur.ID, Vanished))
	}
	return d.makeRoom(d.r.Key(o.KeyID))
}

// lost reports whether the order names k, and the record does not hold it; or
// holds it as somebody else's, because a daemon came before the operator.
func (d *decision) lost(k Key) bool {
	o, held := d.r.Order, d.r.Key(k.ID)
	named := o.KeyID == k.ID && held == nil || slices.Contains(o.Lost, k.ID)
	return named && (held == nil || held.Stage == Retiring) && d.r.tombstone(k.ID) == nil && d.r.orphan(k.ID) == nil
}

// Lost reports whether k most likely is a key that keyrot made and the record
// has lost: it is unknown, and newer than the record's newest. An order names
// it before anything is done to it.
func (w *World) Lost(k Key) bool {
	r := &w.Record
	return r.Key(k.ID) == nil && r.tombstone(k.ID) == nil && r.orphan(k.ID) == nil && k.Created.After(latest(r.Slot, r.Enrolled))
}

// makeRoom has the key leave its slot if a new key needs it.
func (d *decision) makeRoom(k *Held) *Step {
	if k == nil || d.r.In(Pending) != nil {
		return nil
	}
	listed := 0
	for _, other := range d.Keys {
		if d.r.tombstone(other.ID) == nil {
			listed++
		}
	}
	if listed < Quota {
		return nil // held keys that IAM does not list are given up
	}
	seen := d.listed(k.ID)
	switch {
	case seen == nil, k.Stage == Current && k.Broken.IsZero():
		return nil
	case seen.Status != Active:
		return d.step(Delete, k.ID, Recovering)
	case !d.worksBeside(k.ID):
		return d.step(Dismiss, k.ID, OrderPointless)
	}
	if due := d.p.deactivateDue(k); d.now.Before(due) {
		return d.later(Recovering, k.ID, due)
	}
	return d.step(Deactivate, k.ID, Recovering)
}

// worksBeside reports whether IAM lists an active key besides id.
func (d *decision) worksBeside(id string) bool {
	for _, k := range d.Keys {
		if held := d.r.Key(k.ID); k.ID != id && k.Status == Active && (held == nil || held.Broken.IsZero()) {
			return true
		}
	}
	return false
}

// adopt takes a lost key in as a Previous one. What may have been promised for
// it is kept: all that the schedule gives a key, and what it was promised for
// beyond that while its successor was late.
func (r *Record) adopt(p Policy, k Key, now time.Time) {
	promise := k.Created.Add(p.DeactivateAfter - p.Grace)
	promise = latest(promise, now.Add(p.longestRoll(now.Sub(k.Created))))
	r.known(k.ID)
	r.Keys = slices.DeleteFunc(r.Keys, func(h Held) bool { return h.ID == k.ID })
	r.Keys = append(r.Keys, Held{
		ID: k.ID, Stage: Previous, Slot: k.Created, Created: k.Created, Made: k.Created, Promise: promise, Adopted: true,
	})
}

// longestRoll is how far ahead a key of that age may have been promised: by the
// minute to whom it was handed out, by up to an interval to readers of targets,
// see [Record.rollPublished], if its end was near. Its slot is older than the key
// is, but not by half an interval.
func (p Policy) longestRoll(age time.Duration) time.Duration {
	told := slices.ContainsFunc(p.Outlets, func(o Outlet) bool { return o.Expires })
	if told && age > p.DeactivateAfter-p.RotateEvery/2 {
		return p.RotateEvery
	}
	return p.Roll()
}
