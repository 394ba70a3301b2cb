package plan

import (
	"slices"
	"time"
)

// Next names the one step that is right for the world at now, and why.
//
// The order below is part of the contract. What can take access away is
// guarded where it is named; a wait is the answer only if nothing else is.
func Next(w World, p Policy, now time.Time) Step {
	d := &decision{World: w, p: p.WithDefaults(), now: now, r: &w.Record}
	switch {
	case w.Blind:
		return d.blind()
	case w.Unseen:
		return d.unseen()
	}
	return d.next()
}

func (d *decision) next() Step {
	for _, rule := range []func() *Step{
		d.identity,   // a vanished or re-created user is left alone
		d.burn,       // a leak is stopped before anything else, paused or not
		d.copied,     // after a restore, what the record says of the Current key is old
		d.published,  // required targets hold the Current key, whatever promoted it
		d.rollback,   // an order, carried out although the user may be paused
		d.backoff,    // after a failure, wait
		d.paused,     // frozen: look, do not touch
		d.doubt,      // IAM's list and the record differ about the served key: ask STS
		d.fallBack,   // the served key is refused, the one before it still works
		d.recover,    // an order: keys whose secrets were lost are replaced
		d.unknown,    // orphans die, foreign keys are told once
		d.deactivate, // superseded keys, once every promise has passed
		d.delete,     // keys inactive for long enough
		d.pending,    // prove, publish, promote
		d.retire,     // keys from before keyrot
		d.create,     // a new key, if one is due and there is room
		d.copies,     // optional publishers, when nothing else is to be done
	} {
		if s := rule(); s != nil {
			return *s
		}
	}
	return d.wait
}

// decision is one run of Next: the world, and the wait found so far.
type decision struct {
	World
	p    Policy
	now  time.Time
	r    *Record
	wait Step
}

func (d *decision) step(a Action, key string, why Reason) *Step {
	return &Step{Action: a, KeyID: key, Reason: why}
}

// sleep is a wait that ends the run, at the latest when what was noted before
// is due.
func (d *decision) sleep(why Reason, until time.Time) *Step {
	if d.wait.Action != "" {
		until = earliest(until, d.wait.Wake)
	}
	if d.wait.Reason.Stuck() { // which has to be told
		return &Step{Action: Wait, Reason: d.wait.Reason, KeyID: d.wait.KeyID, Wake: until}
	}
	return &Step{Action: Wait, Reason: why, Wake: until}
}

// later notes a wait without ending the run: the earliest wake-up wins; a
// reason that needs attention wins over one that does not, and that over
// "not due".
func (d *decision) later(why Reason, key string, until time.Time) *Step {
	next := Step{Action: Wait, Reason: why, KeyID: key, Wake: until}
	if d.wait.Action == "" {
		d.wait = next
		return nil
	}
	old := d.wait
	sooner := until.Before(old.Wake)
	if w := weight(why) - weight(old.Reason); w > 0 || w == 0 && sooner {
		d.wait = next
	}
	if !sooner {
		d.wait.Wake = old.Wake
	} else {
		d.wait.Wake = until
	}
	return nil
}

func weight(r Reason) int {
	switch {
	case r.Stuck():
		return 2
	case r != NotDue:
		return 1
	}
	return 0
}

func (d *decision) identity() *Step {
	switch {
	case d.Absent:
		return d.sleep(UserGone, d.now.Add(d.p.RotateEvery))
	case d.UserID != "" && d.r.UserID != "" && d.UserID != d.r.UserID:
		return d.sleep(Stranger, d.now.Add(d.p.RotateEvery))
	case d.Name != "" && d.Name != d.r.IAMName():
		return &Step{Action: Follow, Reason: Renamed, Name: d.Name}
	}
	return nil
}

func (d *decision) backoff() *Step {
	if d.now.Before(d.r.RetryAt) {
		return d.sleep(BackingOff, d.r.RetryAt)
	}
	return nil
}

func (d *decision) paused() *Step {
	if !d.r.Paused(d.now) || d.r.In(Current) == nil && d.bereft() {
		return nil // the replacement is a part of a burn
	}
	until := d.r.Pause.Until
	if until.IsZero() {
		until = d.now.Add(d.p.RotateEvery)
	}
	return d.sleep(IsPaused, until)
}

// doubt asks STS about the Current key when IAM's list says something else
// than the record. The list may lag; the key itself does not lie.
func (d *decision) doubt() *Step {
	cur := d.r.In(Current)
	if cur == nil {
		return nil
	}
	k := d.listed(cur.ID)
	agrees := k != nil && k.Status == Active
	if agrees == cur.Broken.IsZero() {
		return nil
	}
	since := latest(cur.Promoted, cur.Probed, cur.Broken)
	if again := since.Add(d.p.Lag); d.now.Before(again) {
		return d.later(ListDisagrees, cur.ID, again)
	}
	return d.step(Probe, cur.ID, ListDisagrees)
}

// unknown deals with listed keys that the record does not hold.
func (d *decision) unknown() *Step {
	for _, k := range d.Keys {
		if d.r.Key(k.ID) != nil {
			continue
		}
		if t := d.r.tombstone(k.ID); t != nil {
			if again := t.At.Add(5 * d.p.Lag); d.now.Before(again) {
				d.later(NotDue, "", again)
				continue
			}
			return d.step(Delete, k.ID, Zombie)
		}
		if s, settled := d.orphan(k); settled {
			if s != nil {
				return s
			}
			continue
		}
		if !slices.Contains(d.r.Foreign, k.ID) {
			return d.step(Notice, k.ID, ForeignKey)
		}
	}
	for _, id := range d.r.Foreign {
		if d.listed(id) == nil {
			return d.step(Notice, id, Vanished)
		}
	}
	return nil
}

// successor returns the key that has taken over from the superseded ones, or
// nil while there is none that certainly works.
func (d *decision) successor() *Held {
	cur := d.r.In(Current)
	if cur == nil || cur.Promoted.IsZero() || cur.Confirmed.IsZero() || !cur.Broken.IsZero() {
		return nil
	}
	if k := d.listed(cur.ID); k != nil && k.Status == Active {
		return cur
	}
	if d.now.Before(latest(cur.Promoted, cur.Probed).Add(d.p.Lag)) {
		return cur // proven a moment ago; the list lags
	}
	return nil
}

func (d *decision) deactivate() *Step {
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		if k.Stage != Previous {
			continue
		}
		seen := d.listed(k.ID)
		if seen == nil {
			if s := d.vanished(k); s != nil {
				return s
			}
			continue
		}
		if !k.Deactivated.IsZero() {
			if seen.Status != Active {
				continue
			}
			// Reactivated by somebody else: they get until it is due to
			// be deleted, then it is made inactive once more. Or the list is old.
			if again := latest(k.Deactivated.Add(d.p.Lag), d.r.deleteDue(d.p, k)); d.now.Before(again) {
				d.later(NotDue, k.ID, again)
				continue
			}
		}
		due := d.p.deactivateDue(k)
		if d.now.Before(due) {
			d.later(NotDue, k.ID, due)
			continue
		}
		cur := d.successor()
		if cur == nil {
			d.later(NoSuccessor, k.ID, d.now.Add(d.p.Lag))
			continue
		}
		if s := d.inUse(k, seen, due); s != nil {
			if s.Action != Wait {
				return s
			}
			d.later(InUse, k.ID, s.Wake)
			continue
		}
		if d.now.Sub(latest(cur.Confirmed, cur.Probed)) > d.p.fresh() {
			return d.step(Probe, cur.ID, Unchecked)
		}
		return &Step{Action: Deactivate, KeyID: k.ID, Reason: Superseded, Due: due}
	}
	return nil
}

// deactivateDue is when a superseded key may stop working: at age D, and never
// before the latest promise given for it has passed.
func (p Policy) deactivateDue(k *Held) time.Time {
	due := k.Slot.Add(p.DeactivateAfter)
	if !k.Promise.IsZero() {
		due = latest(due, k.Promise.Add(p.Grace))
	}
	return due
}

// inUse is nil if callers do not stand in the way of deactivating k.
func (d *decision) inUse(k *Held, seen *Key, due time.Time) *Step {
	if d.p.OnInUse == Press {
		return nil
	}
	if !seen.Usage.Surveyed {
		return d.step(Survey, k.ID, Superseded)
	}
	if d.p.OnInUse != Hold || len(seen.Usage.Holders) == 0 {
		return nil
	}
	if end := due.Add(d.p.MaxHold); d.now.Before(end) {
		again := d.now.Add(min(d.p.Lag, d.p.MaxHold/10))
		if end.Before(again) {
			again = end
		}
		return d.sleep(InUse, again)
	}
	return nil
}

// vanished deals with a held key that IAM does not list. The list may lag, and
// a key is not given up while a promise for it is open.
func (d *decision) vanished(k *Held) *Step {
	again := latest(k.Made.Add(5*d.p.Lag), k.Promoted.Add(d.p.Lag), k.Promise.Add(d.p.Grace))
	if !k.Dead.IsZero() {
		again = k.Dead.Add(d.p.Lag) // burned: no promise stands, and AWS refuses it, too
	}
	if d.now.Before(again) {
		return d.later(NotDue, k.ID, again)
	}
	return d.ours(d.step(Forget, k.ID, Vanished))
}

func (d *decision) delete() *Step {
	for i := range d.r.Keys {
		k := &d.r.Keys[i]
		if k.Stage != Previous || k.Deactivated.IsZero() {
			continue
		}
		seen := d.listed(k.ID)
		if seen == nil || seen.Status == Active && d.now.Sub(k.Deactivated) > d.p.Lag {
			continue // gone, or reactivated: an active key is never deleted
		}
		if !k.Burned.IsZero() && k.Dead.IsZero() {
			continue // first AWS is seen to refuse it; see burn
		}
		due := d.r.deleteDue(d.p, k)
		if n, _ := d.occupied(); n >= Quota && !k.Burned.IsZero() && d.p.Evidence <= 0 && d.r.In(Pending) == nil {
			need, _ := d.createDue() // kept until its slot is needed
			due = earliest(due, latest(need, k.Dead))
		}
		if d.now.Before(due) {
			d.later(NotDue, k.ID, due)
			continue
		}
		if over := d.lostCalls(); d.now.Before(over) {
			d.later(LostCreate, k.ID, over)
			continue
		}
		return &Step{Action: Delete, KeyID: k.ID, Reason: GraceOver, Due: due}
	}
	return nil
}

// deleteDue keeps the time for a roll-back (X−D) also when the deactivation
// was late. If it was early, because the schedule was made longer since, the key
// does not stand in the way of the next one. A burned key that was never handed
// out only takes a slot.
func (r *Record) deleteDue(p Policy, k *Held) time.Time {
	if !k.Burned.IsZero() && k.Promoted.IsZero() && !k.Adopted {
		return k.Deactivated.Add(p.Evidence)
	}
	grace := p.DeleteAfter - p.DeactivateAfter
	if !k.Burned.IsZero() {
		grace = max(grace, p.Evidence)
	}
	due := k.Slot.Add(p.DeleteAfter)
	if next := p.NextSlot(r.Slot); k.Burned.IsZero() && next.Before(due) {
		due = next
	}
	return latest(due, k.Deactivated.Add(grace))
}

func (d *decision) pending() *Step {
	k := d.r.In(Pending)
	if k == nil {
		return nil
	}
	if d.now.Sub(k.Made) > d.p.Lag {
		seen := d.listed(k.ID)
		if seen != nil && seen.Status != Active {
			return d.step(Delete, k.ID, SpoiltPending)
		}
		if seen == nil && !k.Refused.IsZero() {
			return d.step(Delete, k.ID, Vanished)
		}
		if seen == nil && d.now.Sub(k.Confirmed) > d.p.Lag && !k.Confirmed.IsZero() {
			return d.step(Verify, k.ID, Unconfirmed) // targets may hold it
		}
	}
	switch {
	case k.Proven.IsZero() && !k.Refused.IsZero() && !k.asked(d.p).Before(k.Refused.Add(d.p.VerifyDeadline)):
		return d.step(Delete, k.ID, NeverAccepted) // and not because nobody has asked since
	case d.now.Before(k.Ending): // it was to be deleted
		return d.later(Settling, k.ID, k.Ending)
	case d.now.Before(k.Again):
		return d.later(Unproven, k.ID, k.Again)
	case k.Proven.IsZero():
		return d.step(Verify, k.ID, Unproven)
	case d.now.Before(k.Proven.Add(d.p.Settle - d.p.ProofSpan)):
		return d.later(Settling, k.ID, k.Proven.Add(d.p.Settle-d.p.ProofSpan))
	case k.Confirmed.IsZero(), d.now.Sub(k.Confirmed) > d.p.ProofTTL, k.Confirmed.Before(k.Ending):
		return d.step(Verify, k.ID, Unconfirmed) // its last call comes when the key has settled
	case d.now.Before(k.Proven.Add(d.p.Settle)):
		return d.later(Settling, k.ID, k.Proven.Add(d.p.Settle))
	}
	if s, settled := d.publish(k, Unpublished, !d.bereft()); !settled {
		return s
	}
	return &Step{Action: Promote, KeyID: k.ID, Reason: Ready, Due: k.Slot}
}

// asked returns when the last attempt to prove the key was made.
func (k *Held) asked(p Policy) time.Time { return k.Again.Add(-p.retry(k.Tries)) }

func latest(ts ...time.Time) time.Time {
	var t time.Time
	for _, u := range ts {
		if u.After(t) {
			t = u
		}
	}
	return t
}
