package plan

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Outcome is what a step's effect answered.
type Outcome struct {
	Key     Key      // Create: the new key; Adopt: as IAM lists it
	Refused bool     // Verify, Probe: AWS answered that it does not accept the key
	Holders []string // Survey
	Intent  string   // Create: the id of the intent it fulfils
	Answers []Answer // Publish, Copy
}

// Answer is what an outlet answered when it was given a key.
type Answer struct {
	Name  string
	Until time.Time     // the Expiration that it was given
	Busy  bool          // it was not asked: too many wait for it, or it fails for all
	Wait  time.Duration // Busy: how long it is not to be asked; 0: a few seconds
	Error string        // empty: it confirmed; without secrets
	Down  bool          // Error: it fails for all users
}

// Apply returns the record after step has had its effect at now. It changes
// nothing that r shares: the result is a deep copy. A step that failed is not
// applied; see [Record.Failed].
func Apply(r Record, p Policy, step Step, out Outcome, now time.Time) Record {
	p = p.WithDefaults()
	r = r.Clone()
	if published := step.Action == Publish || step.Action == Copy; !published || !now.Before(r.RetryAt) {
		r.Failures, r.RetryAt, r.Error = 0, time.Time{}, "" // what failed otherwise stands beside a publication
	}
	r.notAhead(now)
	k := r.Key(step.KeyID)
	switch step.Action {
	case Create:
		r.created(step, out, now)
	case Verify:
		k.verified(p, out.Refused, now)
	case Probe:
		k.probed(out.Refused, now)
	case Check:
		k.checked(p, out.Refused, now)
	case Publish, Copy:
		r.distributed(p, step.KeyID, out, now)
	case Promote:
		r.promote(k, p, step, now)
	case Deactivate:
		if k == nil {
			r.judged(step, now)
			break
		}
		if step.Reason == Burning {
			if k.Stage == Pending {
				r.unpublish()
			}
			k.Burned, k.Dead, k.Stage = r.leaked(k), time.Time{}, Previous
			r.askAll()
		}
		k.Deactivated = now
	case Reactivate:
		if k == nil {
			r.judged(step, now)
			break
		}
		// Proof starts over: the key counts as accepted only once it is again.
		k.Deactivated, k.Proven, k.Confirmed, k.Refused = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		k.Again, k.Tries = time.Time{}, 0
	case Delete, Forget:
		if k != nil && k.Stage == Pending {
			r.unpublish()
		}
		r.drop(step, now)
	case Survey:
		k.HeldBy = out.Holders
		if len(out.Holders) > 0 && k.HoldSince.IsZero() {
			k.HoldSince = now
		}
	case Inspect:
		if k != nil {
			k.Surveyed = now
		}
	case Adopt:
		r.adopt(p, out.Key, now)
	case Retire:
		k.Stage, k.Slot = Previous, now.Add(-p.DeactivateAfter)
	case Notice:
		r.judged(step, now)
	case Follow:
		if r.Renamed = step.Name; r.Renamed == r.User {
			r.Renamed = "" // back again
		}
	case Dismiss:
		r.Order = nil
	}
	r.prune(now)
	return r
}

// WithIntent returns r with the note that must be saved before CreateAccessKey
// is called. id is unique; seen are the ids IAM lists now.
func (r Record) WithIntent(id string, p Policy, step Step, seen []Key, now time.Time) Record {
	p = p.WithDefaults()
	r = r.Clone()
	in := Intent{ID: id, At: now, Until: p.Over(now), Slot: step.Slot}
	for _, k := range seen {
		in.Seen = append(in.Seen, k.ID)
	}
	r.Intents = append(r.Intents, in)
	return r
}

// EndsLate returns r after a call at began that was to deactivate or delete a
// key and got no answer. It may have its effect while the key is made active
// again or proven, so the key is not put into service before that is over.
func (r Record) EndsLate(p Policy, keyID string, began time.Time) Record {
	r = r.Clone()
	if k := r.Key(keyID); k != nil {
		k.Ending = latest(k.Ending, p.WithDefaults().Over(began))
	}
	return r
}

// Inherited returns r as it must be saved at now, before anybody acts on it in the
// place of a process that died in the middle of a pass. Every key that it may have
// been taking away is treated as if such a call had got no answer. false: it may have
// been publishing, which goes on without it, so its lease has to end by itself.
func (r Record) Inherited(p Policy, now time.Time) (Record, bool) {
	for _, k := range r.Keys {
		publishable := k.Stage == Pending || k.Stage == Current || r.Order != nil && k.Stage == Previous
		if publishable && len(r.Owed(p, k.ID, true, now))+len(r.Owed(p, k.ID, false, now)) > 0 {
			return r, false
		}
	}
	for _, k := range r.Keys {
		if k.Stage != Current && (k.Stage != Pending || !k.Refused.IsZero() || !k.Ending.IsZero()) {
			r = r.EndsLate(p, k.ID, now)
		}
	}
	return r, true
}

// Over is when a call that was made at began cannot have an effect any more. A
// request that its caller gave up on may be on its way for as long again.
func (p Policy) Over(began time.Time) time.Time { return began.Add(2 * p.CallTimeout) }

// Without returns r without the intent: its call certainly had no effect.
func (r Record) Without(intent string) Record {
	r = r.Clone()
	r.Intents = slices.DeleteFunc(r.Intents, func(in Intent) bool { return in.ID == intent })
	return r
}

// briefLength bounds what is kept of a message, in bytes. AWS's own take a few
// hundred; what stands between may answer with pages.
const briefLength = 1000

// Brief shortens a message that is kept or sent on to 1,000 bytes of whole
// characters.
func Brief(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= briefLength {
		return message
	}
	end := briefLength - len("…")
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + "…"
}

// Failed returns r after a step whose effect is unknown or did not happen: the
// next attempt waits, longer each time up to a minute or half an overlap. A
// proof that fails delays only its own key. The message must
// hold no secret.
func (r Record) Failed(p Policy, step Step, message string, now time.Time) Record {
	p = p.WithDefaults()
	r = r.Clone()
	r.notAhead(now)
	r.Failures++
	r.Error = Brief(message)
	if k := r.Key(step.KeyID); k != nil && (step.Action == Verify || step.Action == Check) {
		k.Tries++
		k.Again = now.Add(p.retry(k.Tries))
		return r
	}
	r.RetryAt = now.Add(p.retry(r.Failures))
	return r
}

// retry is the wait before attempt n+1: 1 s, 2 s, 4 s … up to a minute or half
// an overlap.
func (p Policy) retry(n int) time.Duration {
	return min(p.LongestRetry(), time.Second<<max(0, min(n-1, 6)))
}

// LongestRetry is the longest wait after a failure: a minute or half an overlap.
func (p Policy) LongestRetry() time.Duration {
	return max(time.Second, min(time.Minute, p.Overlap()/2))
}

// Clone returns a deep copy.
func (r Record) Clone() Record {
	r.Keys = slices.Clone(r.Keys)
	for i := range r.Keys {
		r.Keys[i].HeldBy = slices.Clone(r.Keys[i].HeldBy)
	}
	r.Intents = slices.Clone(r.Intents)
	for i := range r.Intents {
		r.Intents[i].Seen = slices.Clone(r.Intents[i].Seen)
	}
	r.Gone = slices.Clone(r.Gone)
	r.Orphans = slices.Clone(r.Orphans)
	r.Foreign = slices.Clone(r.Foreign)
	r.Targets = slices.Clone(r.Targets)
	if r.Order != nil {
		o := *r.Order
		o.Lost = slices.Clone(o.Lost)
		r.Order = &o
	}
	if r.Pause != nil {
		u := *r.Pause
		r.Pause = &u
	}
	return r
}

func (r *Record) created(step Step, out Outcome, now time.Time) {
	r.Slot = step.Slot
	r.Keys = append(r.Keys, Held{
		ID: out.Key.ID, Stage: Pending, Slot: step.Slot, Created: out.Key.Created, Made: now,
	})
	r.Intents = slices.DeleteFunc(r.Intents, func(in Intent) bool { return in.ID == out.Intent })
	if r.Order != nil && r.Order.Kind == Force {
		r.Order = nil
	}
}

func (k *Held) verified(p Policy, refused bool, now time.Time) {
	if refused {
		k.Proven, k.Confirmed = time.Time{}, time.Time{}
		if k.Refused.IsZero() {
			k.Refused = now
		}
		k.Tries++
		k.Again = now.Add(p.retry(k.Tries))
		return
	}
	k.Refused, k.Again, k.Tries = time.Time{}, time.Time{}, 0
	switch {
	case !k.Proven.IsZero(), p.Settle <= 0, k.Stage != Pending:
		k.Confirmed = now
	}
	if k.Proven.IsZero() {
		k.Proven = now
	}
}

func (k *Held) probed(refused bool, now time.Time) {
	if refused {
		k.Broken = now
		return
	}
	k.Broken, k.Probed = time.Time{}, now
}

// checked notes whether AWS refuses a burned key.
func (k *Held) checked(p Policy, refused bool, now time.Time) {
	if refused {
		k.Dead, k.Again, k.Tries = now, time.Time{}, 0
		return
	}
	k.Probed = now
	k.Tries++
	k.Again = now.Add(min(p.retry(k.Tries), burnRepeat))
}

// promote makes k Current. Its promise is fixed here, in the same save: if the
// schedule is changed later, what was promised stays promised.
func (r *Record) promote(k *Held, p Policy, step Step, now time.Time) {
	for i := range r.Keys {
		if c := &r.Keys[i]; c.Stage == Current && c.ID != k.ID {
			c.Stage = Previous
		}
	}
	r.Served = now
	k.Stage, k.Promoted, k.Broken, k.Probed, k.Deactivated, k.Ending = Current, now, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	k.Again, k.Tries = time.Time{}, 0
	if k.Confirmed.IsZero() {
		k.Confirmed = k.Proven
	}
	if promise := k.Slot.Add(p.DeactivateAfter - p.Grace); promise.After(k.Promise) {
		k.Promise = promise
	}
	if r.Order != nil && r.Order.Kind == Rollback && step.Reason == Ordered {
		r.Pause = &Pause{Since: now, Reason: "rolled back: " + r.Order.Reason, By: r.Order.By}
		r.Order = nil
	}
}

func (r *Record) drop(step Step, now time.Time) {
	r.unmark(step.KeyID)
	if step.Reason == Orphan {
		// One call creates one key: its intent is settled.
		r.Intents = slices.DeleteFunc(r.Intents, func(in Intent) bool { return in.ID == r.orphanOf(step.KeyID) })
	}
	retiring := false
	r.Keys = slices.DeleteFunc(r.Keys, func(k Held) bool {
		retiring = retiring || k.ID == step.KeyID && k.Stage == Retiring
		return k.ID == step.KeyID
	})
	if retiring {
		return // not ours: should IAM list it again, it is a foreign key
	}
	r.Gone = slices.DeleteFunc(r.Gone, func(t Tombstone) bool { return t.ID == step.KeyID })
	r.Gone = append(r.Gone, Tombstone{ID: step.KeyID, At: now})
}

// orphanOf returns the oldest open intent that had not seen the key. Which of
// several it was does not matter: one less call is unaccounted for.
func (r *Record) orphanOf(id string) string {
	for _, in := range r.Intents {
		if !slices.Contains(in.Seen, id) {
			return in.ID
		}
	}
	return ""
}

// How long the traces of calls are remembered. IAM's answers lag by seconds;
// a lost call's key may be noticed late after an outage.
const (
	keepIntents    = 24 * time.Hour
	keepTombstones = time.Hour
	keepOrphans    = 7 * 24 * time.Hour
)

func (r *Record) prune(now time.Time) {
	r.Intents = slices.DeleteFunc(r.Intents, func(in Intent) bool { return now.Sub(in.Until) > keepIntents })
	r.Gone = slices.DeleteFunc(r.Gone, func(t Tombstone) bool { return now.Sub(t.At) > keepTombstones })
	r.Orphans = slices.DeleteFunc(r.Orphans, func(t Tombstone) bool { return now.Sub(t.At) > keepOrphans })
}
