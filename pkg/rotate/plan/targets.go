package plan

import (
	"slices"
	"time"
)

// Outlet is a publisher as the planner knows it.
type Outlet struct {
	Name     string
	Required bool // must confirm a key before its promotion; otherwise it gets the Current key
	Expires  bool // its readers see the Expiration: it is published again before it passes
	Compares bool // publishing what its target holds changes nothing: it is done from time to time
}

// Target is what an outlet's target holds of a user, as far as is known.
type Target struct {
	Name  string    `json:"name"`
	KeyID string    `json:"key_id,omitempty"` // the key that it confirmed; empty: not known
	Until time.Time `json:"until,omitzero"`   // the Expiration that it was given with it
	At    time.Time `json:"at,omitzero"`      // when it last confirmed that it holds it
	Again time.Time `json:"again,omitzero"`   // it is not asked before this
	Tries int       `json:"tries,omitempty"`  // times it failed since it last confirmed
	Error string    `json:"error,omitempty"`  // the last failure, without secrets
	Down  bool      `json:"down,omitempty"`   // it has only failed while it failed for all users
}

// putOff is when an outlet is asked again that was too busy to be asked, at the
// earliest. The latest is a retry's longest wait.
const putOff = 5 * time.Second

// Target returns what the target of that name holds; nil: it was never asked.
func (r *Record) Target(name string) *Target {
	for i := range r.Targets {
		if r.Targets[i].Name == name {
			return &r.Targets[i]
		}
	}
	return nil
}

// Owed is a publication that is due.
type Owed struct {
	Name  string
	Until time.Time // with this Expiration, which must be promised first; zero: as it was promised
	why   Reason
}

// Owed returns the publications of the key that are due at now, to the required
// outlets or to the others.
func (r *Record) Owed(p Policy, id string, required bool, now time.Time) []Owed {
	k := r.Key(id)
	if k == nil {
		return nil
	}
	due, _ := r.owed(p.WithDefaults(), k, required, now)
	return due
}

// owed also returns when the next publication will be due, and why.
func (r *Record) owed(p Policy, k *Held, required bool, now time.Time) (due []Owed, next Step) {
	for _, o := range p.Outlets {
		if o.Required != required {
			continue
		}
		t := r.Target(o.Name)
		if k.Stage == Current && required && t != nil && r.onItsWay(t.KeyID) && !r.held(t.KeyID, now) {
			continue // it gave way to a key that is about to become Current
		}
		w := r.owes(p, o, t, k, now)
		if t != nil && now.Before(t.Again) {
			w.at = latest(w.at, t.Again)
			if (t.Tries == 0 || t.Down) && w.why.Stuck() {
				w.why = Queued
			}
		}
		if !now.Before(w.at) {
			due = append(due, Owed{o.Name, w.until, w.why})
			continue
		}
		if next.Wake.IsZero() || weight(w.why) > weight(next.Reason) {
			next.Reason = w.why
		}
		next.Wake = soonest(next.Wake, w.at)
	}
	return due, next
}

// debt is what an outlet is to be given, when and why.
type debt struct {
	at    time.Time // zero: now
	until time.Time
	why   Reason
}

func (r *Record) owes(p Policy, o Outlet, t *Target, k *Held, now time.Time) debt {
	unpublished := Uncopied
	if o.Required {
		unpublished = Unpublished
	}
	if t == nil || t.KeyID != k.ID {
		return debt{why: unpublished}
	}
	w := debt{at: now.Add(24 * time.Hour), why: NotDue}
	if o.Compares && k.Stage == Current {
		if w.at = t.At.Add(p.Recheck); t.At.Before(p.Started) && !p.Started.After(now) {
			w.at = time.Time{}
		}
		w.why = Recheck
	}
	if o.Expires && !t.Until.IsZero() {
		// As in Serve: close to its end the successor should have taken over, or
		// the schedule was made longer.
		at, until := t.Until.Add(-p.Roll()/2), k.Slot.Add(p.DeactivateAfter-p.Grace)
		if !until.After(t.Until.Add(time.Second)) {
			at = latest(at, p.NextSlot(k.Slot))
			until = r.rollPublished(p, k, t.Until, now)
		}
		if at.Before(w.at) || !now.Before(at) {
			w = debt{at: at, until: until, why: Rolled}
		}
	}
	if now.Before(w.at) {
		w.why = NotDue
	}
	return w
}

// rollPublished returns the Expiration to publish while a successor is late,
// after old was published. A long extension needs few new versions of the target,
// but occupies the key's slot and can delay the rotation after the next. So
// extensions are short at first. They grow with the time that was already
// published past the earliest possible arrival of the successor, up to one
// interval. Time in which no process rotated does not count.
func (r *Record) rollPublished(p Policy, k *Held, old, now time.Time) time.Time {
	could := r.succeeds(p, k)
	slot := latest(now, could) // of the successor
	if next := r.In(Pending); next != nil && k.Stage == Current {
		slot = next.Slot
	}
	harmless := max(p.RotateEvery, p.DeleteAfter)/2 - (p.DeleteAfter - p.DeactivateAfter)
	until := latest(slot.Add(harmless*3/4), now.Add(p.Roll()), now.Add(old.Sub(could)))
	return earliest(until, now.Add(p.RotateEvery))
}

// succeeds returns when the Current key's successor can be there at the earliest, as
// far as the record says: at its slot, and not before it is made and proven or,
// if it is not made yet, before the superseded keys have left their places.
func (r *Record) succeeds(p Policy, k *Held) time.Time {
	due := p.NextSlot(k.Slot)
	if k.Stage != Current {
		return due
	}
	for _, t := range r.Gone {
		due = latest(due, t.At)
	}
	if next := r.In(Pending); next != nil {
		return latest(due, next.Made, next.Proven)
	}
	for _, old := range r.Keys {
		if old.Stage != Previous || !old.Burned.IsZero() {
			continue
		}
		if old.Deactivated.IsZero() {
			old.Deactivated = p.deactivateDue(&old)
		}
		due = latest(due, r.deleteDue(p, &old))
	}
	return due
}

// held reports whether a pause keeps the Pending key from becoming Current: its
// readers would be left with an Expiration that passes.
func (r *Record) held(id string, now time.Time) bool {
	return r.Paused(now) && r.Key(id).Stage == Pending
}

// onItsWay reports whether the key is about to become Current: required targets
// are given it before. AWS accepted it, and did not refuse it since.
func (r *Record) onItsWay(id string) bool {
	k := r.Key(id)
	if k == nil || !k.Burned.IsZero() || k.Confirmed.IsZero() || !k.Deactivated.IsZero() {
		return false
	}
	if k.Stage == Pending {
		return true
	}
	return r.Order != nil && r.Order.Kind == Rollback && r.Order.KeyID == id
}

// published gives the Current key to the required outlets whose targets do not
// hold it, whatever promoted it, or may no longer hold it. It comes before
// anything but a burn, also while the user is paused: readers of a target must
// not be left with a key that is to go.
func (d *decision) published() *Step {
	k := d.r.In(Current)
	if k == nil || !k.Broken.IsZero() || !k.Deactivated.IsZero() || !d.r.leaked(k).IsZero() || d.r.unsure() != nil {
		return nil
	}
	due, next := d.r.owed(d.p, k, true, d.now)
	if len(due) > 0 {
		return d.step(Publish, k.ID, due[0].why)
	}
	id := k.ID
	if next.Reason == NotDue {
		id = ""
	}
	if !next.Wake.IsZero() {
		return d.later(next.Reason, id, next.Wake)
	}
	return nil
}

// publish gives a key to the required outlets before its promotion. settled:
// all of them have it, or those that failed are not to be waited for.
func (d *decision) publish(k *Held, why Reason, insist bool) (s *Step, settled bool) {
	due, next := d.r.owed(d.p, k, true, d.now)
	if len(due) > 0 && (insist || slices.ContainsFunc(due, func(o Owed) bool {
		t := d.r.Target(o.Name)
		return t == nil || t.Tries == 0
	})) {
		return d.step(Publish, k.ID, why), false
	}
	if insist && (next.Reason == Unpublished || next.Reason == Queued) {
		return d.later(next.Reason, k.ID, next.Wake), false
	}
	return nil, true
}

// copies gives the Current pair to the optional publishers that have not
// confirmed it. It is the last of the rules: it delays nothing else. The step's
// Wake is when something else is due, by which it must end.
func (d *decision) copies() *Step {
	k := d.r.In(Current)
	if k == nil || !k.Broken.IsZero() || !k.Deactivated.IsZero() {
		return nil
	}
	due, next := d.r.owed(d.p, k, false, d.now)
	if len(due) > 0 {
		return &Step{Action: Copy, KeyID: k.ID, Reason: due[0].why, Wake: d.wait.Wake}
	}
	if !next.Wake.IsZero() {
		return d.later(NotDue, "", next.Wake)
	}
	return nil
}

// distributed notes what outlets answered when they were given the key.
func (r *Record) distributed(p Policy, id string, out Outcome, now time.Time) {
	for _, a := range out.Answers {
		t := r.Target(a.Name)
		if t == nil {
			r.Targets = append(r.Targets, Target{Name: a.Name})
			t = &r.Targets[len(r.Targets)-1]
		}
		switch {
		case a.Busy:
			t.Again = now.Add(max(putOff, min(a.Wait, p.LongestRetry())))
		case a.Error != "":
			if t.KeyID != id {
				t.KeyID, t.Until, t.At = "", time.Time{}, time.Time{} // it may hold either
			}
			t.Down = a.Down && (t.Tries == 0 || t.Down)
			t.Tries++
			t.Again, t.Error = now.Add(p.retry(t.Tries)), a.Error
			r.Error = a.Error
		default:
			*t = Target{Name: a.Name, KeyID: id, Until: a.Until, At: now}
		}
	}
}

// unpublish forgets what targets hold: a key that they may have been given is
// gone, or an operator wants all to be published again.
func (r *Record) unpublish() {
	for i := range r.Targets {
		r.Targets[i] = Target{Name: r.Targets[i].Name}
	}
}

// askAll ends the pauses after failures: a target may hold a leaked key.
func (r *Record) askAll() {
	for i := range r.Targets {
		r.Targets[i].Again = time.Time{}
	}
}

// Republish returns r with all of its targets to be given the pair again.
func (r Record) Republish() Record {
	r = r.Clone()
	r.unpublish()
	return r
}

// Unpublished returns the targets that hold neither the Current key nor the one
// that is about to become Current.
func (r *Record) Unpublished() []Target {
	cur := r.In(Current)
	if cur == nil {
		return nil
	}
	var left []Target
	for _, t := range r.Targets {
		if t.KeyID != cur.ID && !r.onItsWay(t.KeyID) {
			left = append(left, t)
		}
	}
	return left
}

func soonest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// blind names what can be done without AWS: readers of targets are given what
// they are owed.
func (d *decision) blind() Step {
	s := d.published()
	if s == nil {
		s = d.sleep(BackingOff, d.now.Add(d.p.RotateEvery))
	}
	return *s
}
