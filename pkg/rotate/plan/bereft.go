package plan

import (
	"slices"
	"time"
)

// bereft reports whether nothing can be handed out, though something was: then
// a required publisher that fails does not hold the next key up.
func (d *decision) bereft() bool {
	if cur := d.r.In(Current); cur != nil && cur.Broken.IsZero() {
		return false
	}
	return !d.r.Served.IsZero() || slices.ContainsFunc(d.r.Keys, func(k Held) bool { return !k.Promoted.IsZero() })
}

// fallBack makes the Previous key Current again when AWS refuses its successor
// inside the overlap. The successor was proven three times in a row, so this
// takes somebody who spoils it.
func (d *decision) fallBack() *Step {
	cur, prev := d.r.In(Current), d.r.In(Previous)
	if cur == nil {
		return d.afterBurn()
	}
	if cur.Broken.IsZero() || prev == nil || !prev.Deactivated.IsZero() || !prev.Burned.IsZero() || prev.secretless() {
		return nil
	}
	if seen := d.listed(prev.ID); seen == nil || seen.Status != Active {
		return nil
	}
	switch {
	case d.now.Before(latest(prev.Again, prev.Ending)):
		return d.later(CurrentBroken, prev.ID, latest(prev.Again, prev.Ending))
	case !prev.Confirmed.After(latest(cur.Broken, prev.Ending)):
		return d.step(Verify, prev.ID, CurrentBroken)
	}
	// It is published right afterwards: until then there is nothing to hand out.
	return d.step(Promote, prev.ID, CurrentBroken)
}

// afterBurn goes on with a burn that left the user without a key: a Previous one
// that AWS accepts takes the leaked one's place, others leave their slots if those
// are needed.
func (d *decision) afterBurn() *Step {
	if !d.bereft() || d.r.In(Pending) != nil {
		return nil
	}
	n, _ := d.occupied()
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		if k.Stage != Previous || !d.r.leaked(k).IsZero() {
			continue
		}
		s := d.instead(k, d.now.Add(-d.p.Lag))
		if s == nil || (s.Action == Delete || s.Action == Forget || s.Action == Deactivate) && n < Quota {
			continue
		}
		if seen := d.listed(k.ID); s.Action == Delete && seen != nil && seen.Status == Active {
			d.later(NoCurrent, k.ID, k.Deactivated.Add(d.p.Lag+time.Second)) // the list lags
			continue
		}
		if s.Reason == Burning {
			s.Reason = NoCurrent
		}
		return s
	}
	return nil
}
