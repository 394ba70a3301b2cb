package plan

import (
	"slices"
	"time"
)

// burnPatience is how long a leaked Current key may go on while a replacement
// is made. After that it is deactivated without one: the only place where
// keyrot takes the last working key, and only on an explicit order.
const burnPatience = time.Minute

// burnRepeat is how long a key may still be accepted before it is made inactive
// once more: the call may not have done what its answer said.
const burnRepeat = 10 * time.Second

// Ordered returns r with the order o, and o as it stands. A burn that stands
// already keeps its time, however often it is ordered, and stands whatever is
// ordered after it: it is noted with the key. What failed before the order does
// not delay it.
func (r Record) Ordered(o Order) (Record, Order) {
	r = r.Clone()
	if k := r.Key(o.KeyID); k != nil && o.Kind == Burn {
		if k.Burned.IsZero() {
			k.Burned = o.At
		}
		o.At, k.Dead, k.Again = k.Burned, time.Time{}, time.Time{}
	}
	stands := o
	r.Order, r.Failures, r.RetryAt = &stands, 0, time.Time{}
	if o.Kind == Recover {
		r.recovered()
	}
	return r, o
}

// OrderedAfter reports whether an order, or the burn of a key, is dated after t.
func (r Record) OrderedAfter(t time.Time) bool {
	return r.Order != nil && r.Order.At.After(t) ||
		slices.ContainsFunc(r.Keys, func(k Held) bool { return k.Burned.After(t) })
}

// Redated returns r with everything that was ordered after now dated now.
func (r Record) Redated(now time.Time) Record {
	r = r.Clone()
	if r.Order != nil {
		r.Order.At = earliest(r.Order.At, now)
	}
	for i := range r.Keys {
		r.Keys[i].Burned = earliest(r.Keys[i].Burned, now) // zero stays zero
	}
	return r
}

// burn carries out orders to burn leaked keys: they stop working before
// anything else happens to the user.
func (d *decision) burn() *Step {
	var served *Held
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		switch since := d.r.leaked(k); {
		case since.IsZero():
		case !k.Dead.IsZero():
			// Somebody made it active again.
			if seen := d.listed(k.ID); seen != nil && seen.Status == Active && d.now.Sub(latest(k.Dead, k.Deactivated)) > d.p.Lag {
				return d.step(Deactivate, k.ID, Burning)
			}
		case !k.Deactivated.IsZero():
			if s := d.check(k); s != nil {
				return s
			}
		case k.Stage == Current && d.now.Sub(since) < burnPatience:
			served = k
		default:
			return d.step(Deactivate, k.ID, Burning)
		}
	}
	if served != nil {
		return d.replaceLeaked(served, d.r.leaked(served))
	}
	return d.burned()
}

// leaked returns since when the key is to be burned; zero: it is not.
func (r *Record) leaked(k *Held) time.Time {
	if o := r.Order; k.Burned.IsZero() && o != nil && o.Kind == Burn && o.KeyID == k.ID {
		return o.At
	}
	return k.Burned
}

// notAhead moves a burn that was ordered by a clock that is fast to now: its
// minute must not be longer.
func (r *Record) notAhead(now time.Time) {
	for i := range r.Keys {
		if k := &r.Keys[i]; k.Burned.After(now) {
			k.Burned = now
		}
	}
}

// leakedAny reports whether a held key is or was to be burned.
func (r *Record) leakedAny() bool {
	for i := range r.Keys {
		if !r.leaked(&r.Keys[i]).IsZero() {
			return true
		}
	}
	return false
}

// check asks AWS about a key that was made inactive, until AWS refuses it. What
// IAM acknowledges, the rest of AWS follows seconds later, and an answer may
// have been somebody else's.
func (d *decision) check(k *Held) *Step {
	again := k.Again
	if k.secretless() { // its secret is not known: IAM's list has to do
		again = latest(again, k.Deactivated.Add(d.p.Lag))
	}
	switch {
	case k.Probed.After(k.Deactivated) && d.now.Sub(k.Deactivated) >= burnRepeat: // accepted since
		return d.step(Deactivate, k.ID, Burning)
	case d.now.Before(again):
		return d.later(Burning, k.ID, again)
	}
	return d.step(Check, k.ID, Burning)
}

// burned ends the order once AWS was seen to refuse its key, or the key is gone.
func (d *decision) burned() *Step {
	o := d.r.Order
	if o == nil || o.Kind != Burn {
		return nil
	}
	switch k := d.r.Key(o.KeyID); {
	case k == nil && d.r.tombstone(o.KeyID) == nil:
		return d.step(Dismiss, o.KeyID, OrderPointless)
	case k == nil, !k.Dead.IsZero():
		return d.step(Dismiss, o.KeyID, OrderDone)
	}
	return nil
}

// replaceLeaked finds a successor for a leaked Current key as fast as can be:
// another key that AWS accepts, without the settle time, or a new one.
func (d *decision) replaceLeaked(leaked *Held, since time.Time) *Step {
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		if k.ID == leaked.ID {
			continue
		}
		if s := d.instead(k, since); s != nil {
			return s
		}
	}
	if s := d.unknown(); s != nil {
		return s // an orphan may leave its slot
	}
	if d.r.In(Pending) == nil {
		if s := d.createNow(since, Burning); s != nil {
			return s
		}
	}
	return d.sleep(Burning, since.Add(burnPatience))
}

// instead lets another held key take the leaked one's place if AWS accepts it.
// If it is inactive, or gone, it leaves its slot: what the record says of it
// may be wrong, and IAM's list may be old, so the key itself is asked first.
func (d *decision) instead(k *Held, since time.Time) *Step {
	seen := d.listed(k.ID)
	idle := seen != nil && seen.Status != Active
	gone := seen == nil && d.now.Sub(k.Made) > d.p.Lag
	reactivated := seen != nil && seen.Status == Active && d.now.Sub(k.Deactivated) > d.p.Lag
	usable := d.r.leaked(k).IsZero() && !k.secretless() && k.Stage != Retiring && (k.Deactivated.IsZero() || reactivated)
	switch {
	case !usable && !d.r.leaked(k).IsZero() && d.now.Before(k.Deactivated.Add(d.p.Evidence)):
		return nil // told to keep it
	case !usable && (idle || !k.Deactivated.IsZero()), usable && idle && !k.Refused.IsZero():
		return d.vacate(k)
	case gone && (!usable || !k.Refused.IsZero()):
		return d.ours(d.step(Forget, k.ID, Vanished))
	case !usable:
		return nil
	case d.now.Before(k.Ending) && d.now.Before(k.Promise.Add(d.p.Grace)):
		return d.later(Burning, k.ID, k.Ending)
	case d.now.Before(k.Ending) && !idle && k.Stage == Previous: // it was to end just now
		return d.step(Deactivate, k.ID, Burning)
	case d.now.Before(k.Ending):
		return d.vacate(k)
	case !latest(k.Proven, k.Confirmed).Before(latest(since, k.Ending)):
		return d.step(Promote, k.ID, Burning)
	case d.now.Before(k.Again):
		return d.later(Burning, k.ID, k.Again)
	}
	return d.step(Verify, k.ID, Burning)
}

// vacate deletes the key, but not while a lost call could take its slot.
func (d *decision) vacate(k *Held) *Step {
	if over := d.lostCalls(); d.now.Before(over) {
		return d.later(Burning, k.ID, over)
	}
	return d.step(Delete, k.ID, Burning)
}

// rollback carries out an order to make the Previous key Current again.
func (d *decision) rollback() *Step {
	o := d.r.Order
	if o == nil || o.Kind != Rollback {
		return nil
	}
	k := d.r.Key(o.KeyID)
	if k == nil || !k.Burned.IsZero() {
		return d.step(Dismiss, o.KeyID, OrderPointless)
	}
	seen := d.listed(k.ID)
	ending := k.Ending
	if !k.Deactivated.IsZero() { // by the second of two attempts, perhaps
		ending = latest(ending, d.p.Over(k.Deactivated))
	}
	switch {
	case k.Stage == Current:
		return d.step(Dismiss, k.ID, OrderDone)
	case k.Stage != Previous, seen == nil:
		return d.step(Dismiss, k.ID, OrderPointless)
	case d.now.Before(ending):
		return d.sleep(Settling, ending)
	case seen.Status != Active && k.Deactivated.IsZero(), !k.Deactivated.IsZero():
		return d.step(Reactivate, k.ID, Ordered)
	case d.now.Before(k.Again):
		return d.sleep(BackingOff, k.Again)
	case !k.Confirmed.After(latest(o.At, k.Ending)):
		if !k.Refused.IsZero() && d.now.Sub(latest(k.Refused, o.At)) >= d.p.VerifyDeadline {
			return d.step(Dismiss, k.ID, OrderPointless)
		}
		return d.step(Verify, k.ID, Ordered)
	}
	if s, settled := d.publish(k, Ordered, false); !settled {
		return s
	}
	return d.step(Promote, k.ID, Ordered)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
