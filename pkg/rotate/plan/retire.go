package plan

// retire moves keys from before keyrot on, once nobody has used them for long
// enough and there is something to use instead.
func (d *decision) retire() *Step {
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		if k.Stage != Retiring {
			continue
		}
		seen := d.listed(k.ID)
		if seen == nil {
			if s := d.vanished(k); s != nil {
				return s
			}
			continue
		}
		if d.successor() == nil { // its users lack nothing: it stays, and why the new key is late is said with that
			d.later(NotRetired, k.ID, d.now.Add(d.p.Lag))
			continue
		}
		again := k.Surveyed.Add(max(d.p.RetireIdle/24, d.p.Lag))
		switch {
		case seen.Usage.Known && d.now.Sub(latest(seen.Usage.LastUsed, k.Made)) >= d.p.RetireIdle:
			return d.step(Retire, k.ID, Idle)
		case d.now.Before(again):
			d.later(NotRetired, k.ID, again)
		default:
			return d.step(Inspect, k.ID, Idle)
		}
	}
	return nil
}
