package plan

import "slices"

// Unseen returns the user's world as the record expects it, without asking IAM.
// In it, [Next] names steps that are right whatever IAM would list, and
// otherwise [Look]. Each look is a ListAccessKeys call, of which IAM allows few.
func Unseen(r Record) World {
	w := World{Record: r, Unseen: true}
	for _, k := range r.Keys {
		status := Active
		if !k.Deactivated.IsZero() {
			status = Inactive
		}
		w.Keys = append(w.Keys, Key{ID: k.ID, Status: status, Created: k.Created})
	}
	return w
}

// unseen names what comes next if all is as the record expects, or a look.
func (d *decision) unseen() Step {
	look := Step{Action: Look, Reason: NotSeen}
	if !d.routine() {
		return look
	}
	s := d.next()
	if d.sure(s) {
		return s
	}
	if look.Then = s.Action; s.Action == Identify {
		look.Then = Create
	}
	return look
}

// routine reports whether nothing but the schedule moves the user's keys: no
// order, no failure, no key that is doubtful or not keyrot's.
func (d *decision) routine() bool {
	r := d.r
	if r.Order != nil || r.Pause != nil || r.Failures > 0 || d.now.Before(r.RetryAt) || r.Waiting != "" || !r.Released.IsZero() {
		return false
	}
	if len(r.Intents)+len(r.Orphans)+len(r.Foreign) > 0 {
		return false
	}
	return !slices.ContainsFunc(r.Keys, func(k Held) bool {
		return k.Stage == Retiring || !k.Broken.IsZero() || !k.Burned.IsZero()
	})
}

// sure reports whether the step is right without a look. What creates or deletes
// is not: a foreign key may take the slot, and somebody may have made the key
// active again. A step that relies on a key needs AWS to have accepted that key a
// moment ago, which says more than a list does.
func (d *decision) sure(s Step) bool {
	relies := d.r.Key(s.KeyID)
	switch s.Action {
	case Wait:
		return !s.Reason.Stuck()
	case Verify, Probe, Survey:
		return true
	case Publish, Copy, Promote:
	case Deactivate:
		relies = d.r.In(Current)
	default:
		return false
	}
	return relies != nil && d.now.Sub(latest(relies.Confirmed, relies.Probed)) <= d.p.fresh()
}

// identified reports whether IAM said that the list is that of the record's user,
// and not of another one who has the name now: by the user's unique id, or by a
// key that the record holds, which no other user can have.
func (d *decision) identified() bool {
	return d.UserID != "" || slices.ContainsFunc(d.Keys, func(k Key) bool { return d.r.Key(k.ID) != nil })
}
