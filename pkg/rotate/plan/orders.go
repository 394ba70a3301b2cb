package plan

import "time"

// burnPatience is how long a leaked Current key may go on while a replacement
// is made. After that it is deactivated without one: the only place where
// keyrot takes the last working key, and only on an explicit order.
const burnPatience = time.Minute

// burn carries out an order to burn a leaked key.
func (d *decision) burn() *Step {
	o := d.r.Order
	if o == nil || o.Kind != Burn {
		return nil
	}
	k := d.r.Key(o.KeyID)
	switch {
	case k == nil:
		return d.step(Dismiss, o.KeyID, OrderPointless)
	case !k.Deactivated.IsZero():
		return d.step(Dismiss, o.KeyID, OrderDone)
	case k.Stage == Pending:
		return d.step(Delete, k.ID, Burning)
	case k.Stage != Current:
		return d.step(Deactivate, k.ID, Burning)
	case d.now.Sub(o.At) >= burnPatience:
		return d.step(Deactivate, k.ID, Burning)
	}
	if d.now.Before(d.r.RetryAt) {
		return d.sleep(BackingOff, earliest(d.r.RetryAt, o.At.Add(burnPatience)))
	}
	return d.replaceLeaked(k)
}

// replaceLeaked finds a successor for a leaked Current key as fast as can be:
// a pending key without the settle time, a new key, or the Previous one.
func (d *decision) replaceLeaked(leaked *Held) *Step {
	if k := d.r.In(Pending); k != nil && !d.now.Before(k.Again) {
		if k.Proven.IsZero() {
			return d.step(Verify, k.ID, Burning)
		}
		return d.step(Promote, k.ID, Burning)
	}
	if prev := d.r.In(Previous); prev != nil && prev.Burned.IsZero() {
		seen := d.listed(prev.ID)
		switch {
		case seen == nil:
		case seen.Status == Active && prev.Deactivated.IsZero():
			if prev.Confirmed.Before(d.r.Order.At) && !d.now.Before(prev.Again) {
				return d.step(Verify, prev.ID, Burning)
			}
			if !prev.Confirmed.Before(d.r.Order.At) {
				return d.step(Promote, prev.ID, Burning)
			}
		case !prev.Deactivated.IsZero():
			return d.step(Delete, prev.ID, Burning) // makes room
		}
	}
	if d.r.In(Pending) == nil {
		if s := d.createNow(d.r.Order.At, Burning); s != nil {
			return s
		}
	}
	until := d.r.Order.At.Add(burnPatience)
	if d.wait.Action != "" {
		until = earliest(until, d.wait.Wake)
	}
	return d.sleep(Burning, until)
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
	switch {
	case k.Stage == Current:
		return d.step(Dismiss, k.ID, OrderDone)
	case k.Stage != Previous, seen == nil:
		return d.step(Dismiss, k.ID, OrderPointless)
	case seen.Status != Active && k.Deactivated.IsZero(), !k.Deactivated.IsZero():
		return d.step(Reactivate, k.ID, Ordered)
	case d.now.Before(k.Again):
		return d.sleep(BackingOff, k.Again)
	case !k.Confirmed.After(o.At):
		if !k.Refused.IsZero() && d.now.Sub(latest(k.Refused, o.At)) >= d.p.VerifyDeadline {
			return d.step(Dismiss, k.ID, OrderPointless)
		}
		return d.step(Verify, k.ID, Ordered)
	case d.p.Publish && !k.Published.After(o.At):
		return d.step(Publish, k.ID, Ordered)
	}
	return d.step(Promote, k.ID, Ordered)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
