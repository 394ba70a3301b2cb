package plan

import "time"

// Offer is what may be handed out.
type Offer struct {
	KeyID      string
	Created    time.Time
	Expiration time.Time // whole seconds, as it is written everywhere; ahead of now
	// Roll: Expiration lies beyond what was promised so far, because the
	// successor is late or the schedule was made longer. It must be saved with
	// [Record.Promised] before it leaves.
	Roll bool
}

// shortest is how much of a promise is left at least when it is given.
const shortest = time.Second

// Serve returns the key that may be handed out at now, and until when it will
// work. ok is false while no key certainly works.
//
// Expiration is the promise fixed at promotion, or what the schedule gives the
// key by now if that is more, as long as enough of it is left. Close to its end
// the successor should have taken over; if it has not, the promise is rolled
// forward by [Policy.Roll], and the key is kept alive for that long.
func Serve(r Record, p Policy, now time.Time) (o Offer, ok bool) {
	p = p.WithDefaults()
	k := r.In(Current)
	if k == nil || k.Promoted.IsZero() || !k.Broken.IsZero() || !k.Deactivated.IsZero() {
		return Offer{}, false
	}
	o = Offer{KeyID: k.ID, Created: k.Created, Expiration: k.Promise.Truncate(time.Second)}
	if full := k.Slot.Add(p.DeactivateAfter - p.Grace).Truncate(time.Second); full.After(o.Expiration) {
		o.Expiration, o.Roll = full, true
	}
	left := o.Expiration.Sub(now)
	if left < p.Roll()/2 && now.After(p.NextSlot(k.Slot)) || left < shortest {
		o.Expiration, o.Roll = now.Add(max(p.Roll(), shortest)+time.Second-1).Truncate(time.Second), true
	}
	return o, true
}

// Promised returns r with the promise of a rolled offer.
func (r Record) Promised(o Offer) Record {
	r = r.Clone()
	if k := r.Key(o.KeyID); k != nil && o.Expiration.After(k.Promise) {
		k.Promise = o.Expiration
	}
	return r
}

// Overdue returns since when the user's rotation should have put a new key in
// place, and whether it is that late: the slot and a quarter of the overlap
// have passed and the Current key is still the one from before.
func Overdue(r Record, p Policy, now time.Time) (since time.Time, overdue bool) {
	p = p.WithDefaults()
	k := r.In(Current)
	if p.Frozen == IsFrozen || !r.Released.IsZero() {
		return time.Time{}, false // late on purpose
	}
	if k == nil {
		since = r.Enrolled
		if !r.Slot.IsZero() {
			since = r.Slot
		}
		return since, now.Sub(since) > p.Overlap()
	}
	since = p.NextSlot(k.Slot)
	return since, now.After(since.Add(p.Overlap() / 2))
}
