package plan

import (
	"slices"
	"strings"
	"time"
)

// maxQuarantine bounds how long a presumed orphan is kept inactive.
const maxQuarantine = 12 * time.Hour

// listAge is the age that no list of IAM's has: a key that is listed as active
// this long after it was made inactive has an owner.
const listAge = 15 * time.Minute

// doubt is how long after a presumed orphan was made inactive a list that shows
// it as active may be out of date. Lists lag longer than [Policy.Lag] at times.
func (p Policy) doubt() time.Duration { return 2 * p.Lag }

// Quarantine is how long a presumed orphan is inactive before it is deleted: a
// quarter of the overlap can be spared, and what its owner did meanwhile must
// show in IAM's lists.
func (p Policy) Quarantine() time.Duration {
	return max(p.doubt(), min(maxQuarantine, p.Overlap()/4))
}

// orphan deals with a listed key that a lost call may have created. It is made
// inactive first, and told about: should it be somebody else's after all, its
// owner can make it active again, and then it is not touched any more. A list
// that is very old looks just the same. So the mark stays on a key that was
// reported as foreign until no list can be that old; if the key turns out to be
// inactive, all begins anew.
// settled is false if the key is not keyrot's.
func (d *decision) orphan(k Key) (s *Step, settled bool) {
	in, mark := d.r.intentFor(k, d.p), d.r.orphan(k.ID)
	switch {
	case in == nil && mark == nil:
		return nil, false
	case slices.Contains(d.r.Foreign, k.ID):
		s = d.misjudged(k, mark)
		return s, s != nil
	case d.ambiguous():
		return d.oneOfTwo(k, in, mark)
	case mark == nil && d.now.Before(in.Until):
		return d.later(LostCreate, k.ID, in.Until), true // the call may be under way still
	}
	if mark != nil {
		if sure := mark.At.Add(d.p.doubt()); k.Status == Active && !d.now.Before(sure) {
			return nil, false // it has an owner, who made it active again
		}
		if end := mark.At.Add(d.p.Quarantine()); d.now.Before(end) {
			return d.later(LostCreate, k.ID, end), true
		}
	}
	switch {
	case !k.Usage.Known:
		return d.step(Inspect, k.ID, Orphan), true
	case !k.Usage.LastUsed.IsZero() && mark != nil && k.Status != Active:
		return d.step(Reactivate, k.ID, ForeignKey), true // nobody can use a key whose secret was lost
	case !k.Usage.LastUsed.IsZero():
		return nil, false
	case mark == nil:
		return d.ours(d.step(Deactivate, k.ID, Orphan)), true
	}
	return d.ours(d.step(Delete, k.ID, Orphan)), true
}

// ours is the step, once IAM has said that the list is that of the record's
// user and not of another one who has its name now.
func (d *decision) ours(s *Step) *Step {
	if d.UserID == "" {
		return d.step(Identify, "", s.Reason)
	}
	return s
}

// misjudged deals with a key that was reported as foreign. It names a step if
// the key was a presumed orphan before, and the list that showed it as active
// again was out of date or certainly was not.
func (d *decision) misjudged(k Key, mark *Tombstone) *Step {
	switch {
	case mark == nil, d.ambiguous():
		return nil
	case k.Status == Active && !d.now.Before(mark.At.Add(listAge)):
		return d.step(Notice, k.ID, Reclaimed)
	case k.Status == Active:
		return nil
	case !k.Usage.Known:
		return d.step(Inspect, k.ID, Orphan)
	case !k.Usage.LastUsed.IsZero():
		return nil
	}
	return d.ours(d.step(Deactivate, k.ID, Orphan))
}

// oneOfTwo deals with a key that a lost call may have made while another one is
// listed that may be it, too. The list may lag and show one that is gone; after
// that neither is touched, and what was done to one is undone.
func (d *decision) oneOfTwo(k Key, in *Intent, mark *Tombstone) (s *Step, settled bool) {
	var sure time.Time
	if in != nil {
		sure = in.Until.Add(2 * d.p.Lag)
	}
	if mark != nil {
		sure = latest(sure, mark.At.Add(2*d.p.Lag))
	}
	switch {
	case d.now.Before(sure):
		return d.later(LostCreate, k.ID, sure), true
	case mark != nil && k.Status != Active:
		return d.step(Reactivate, k.ID, ForeignKey), true
	}
	return nil, false
}

// ambiguous reports whether there are more keys that a lost call may have made
// than lost calls. Some are somebody else's then, and nothing says which.
func (d *decision) ambiguous() bool {
	candidates, calls := 0, map[int]bool{} // by the intents' places
	for _, k := range d.Keys {
		if d.r.Key(k.ID) != nil || d.r.tombstone(k.ID) != nil {
			continue // those reported as foreign count: one of them may be keyrot's
		}
		for i := range d.r.Intents {
			if d.r.Intents[i].mayHaveMade(k, d.p) {
				calls[i] = true
			}
		}
		if d.r.intentFor(k, d.p) != nil {
			candidates++
		}
	}
	return candidates > d.r.makeable(calls)
}

// makeable returns how many keys the calls, given by their intents' places, can
// have made: of those that had seen the same keys, as many as slots were free.
func (r *Record) makeable(calls map[int]bool) (n int) {
	room := map[string]int{}
	for i := range calls {
		seen := strings.Join(slices.Sorted(slices.Values(r.Intents[i].Seen)), " ")
		if _, ok := room[seen]; !ok {
			room[seen] = max(1, Quota-len(r.Intents[i].Seen))
		}
		if room[seen] > 0 {
			room[seen]--
			n++
		}
	}
	return n
}

// intentFor returns an intent whose lost call may have created k.
func (r *Record) intentFor(k Key, p Policy) *Intent {
	for i := range r.Intents {
		if r.Intents[i].mayHaveMade(k, p) {
			return &r.Intents[i]
		}
	}
	return nil
}

// MayOwn reports whether the listed key may be keyrot's: it holds it, is about to
// save it, or has not finished with it. Nobody else should delete it.
func (r *Record) MayOwn(k Key, p Policy) bool {
	if r.Key(k.ID) != nil || r.tombstone(k.ID) != nil || r.orphan(k.ID) != nil {
		return true
	}
	return !slices.Contains(r.Foreign, k.ID) && r.intentFor(k, p.WithDefaults()) != nil
}

// mayHaveMade reports whether the intent's call may have created k: it was not
// there before, and its CreateDate lies in the call's window.
func (in *Intent) mayHaveMade(k Key, p Policy) bool {
	if slices.Contains(in.Seen, k.ID) {
		return false
	}
	// CreateDate is cut to whole seconds and set by another clock.
	from, to := in.At.Add(-p.Skew-time.Second), in.Until.Add(p.Skew)
	return !k.Created.Before(from) && !k.Created.After(to)
}

// orphan returns since when the key is inactive as a presumed orphan, or nil.
func (r *Record) orphan(id string) *Tombstone {
	for i := range r.Orphans {
		if r.Orphans[i].ID == id {
			return &r.Orphans[i]
		}
	}
	return nil
}

// judged applies what was decided about a key that the record does not hold.
func (r *Record) judged(step Step, now time.Time) {
	switch {
	case step.Action == Deactivate:
		r.unmark(step.KeyID)
		r.known(step.KeyID)
		r.Orphans = append(r.Orphans, Tombstone{ID: step.KeyID, At: now})
	case step.Action == Reactivate: // taken for an orphan by mistake
		r.unmark(step.KeyID)
		r.known(step.KeyID)
		r.Foreign = append(r.Foreign, step.KeyID)
	case step.Reason == Vanished:
		r.known(step.KeyID)
	case step.Reason == Reclaimed:
		r.unmark(step.KeyID)
	default: // a mark stays: see [decision.misjudged]
		r.Foreign = append(r.Foreign, step.KeyID)
	}
}

// known takes the key off the list of foreign ones.
func (r *Record) known(id string) {
	r.Foreign = slices.DeleteFunc(r.Foreign, func(f string) bool { return f == id })
}

func (r *Record) unmark(id string) {
	r.Orphans = slices.DeleteFunc(r.Orphans, func(t Tombstone) bool { return t.ID == id })
}
