package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEveryBurn orders a burn in every world that two held keys, an unknown
// one, a lost call, a pause, a back-off and another burn make, and plays it out
// with all that goes wrong on a [stage]. The leaked key must be dead in time, AWS
// must have been seen to refuse it before the order ends, and if there was room
// for a replacement, the user must have one by then; in any case all must be well
// in time. Readers of targets have what is served all the while.
func TestEveryBurn(t *testing.T) {
	t.Parallel()
	policies := []Policy{
		{Outlets: outlets},
		{Evidence: time.Hour, Frozen: IsFrozen},
		{RotateEvery: 10 * time.Minute, DeactivateAfter: 20 * time.Minute, DeleteAfter: 20 * time.Minute, Outlets: outlets},
	}
	beside := []struct {
		name string
		do   func(Record) Record
	}{
		{"nothing else", func(r Record) Record { return r }},
		{"a lost call", func(r Record) Record { return r.intent(19.9, "A", "B") }},
		{"a pause", func(r Record) Record { r.Pause = &Pause{Since: at(1)}; return r }},
		{"a back-off of somebody else's", func(r Record) Record { r.RetryAt, r.Failures = at(25), 7; return r }},
		{"a burn of the other key", func(r Record) Record { r, _ = r.Ordered(Order{Kind: Burn, KeyID: "B", At: at(19.98)}); return r }},
		{"a roll-back to the other key", func(r Record) Record { r, _ = r.Ordered(Order{Kind: Rollback, KeyID: "B", At: at(19.98)}); return r }},
	}
	n := 0
	for pi, p := range policies {
		p = p.WithDefaults()
		as := keyStates("A")
		if raceEnabled {
			as = thin(as, 25, pi)
		}
		for ai, a := range as {
			if a.held == nil {
				continue
			}
			for bi, b := range thin(keyStates("B"), 7, ai+pi) {
				if twice(a, b, Current) || twice(a, b, Pending) {
					continue
				}
				base, keys := world(a, b)
				for _, x := range thin(unknownStates(), 7, bi) {
					for ti, tr := range beside {
						ks := slices.Clone(keys)
						if x.listed != nil {
							ks = append(ks, *x.listed)
						}
						for _, since := range []float64{18, 20} {
							n++
							aws := &stage{keys: slices.Clone(ks), holds: map[string]string{"t": "A", "u": "A"}, mode: (ai + bi + ti) % troubles}
							r, _ := tr.do(base).Ordered(Order{Kind: Burn, KeyID: "A", At: at(since)})
							if err := aws.play(r, p, since); err != nil {
								t.Fatalf("policy %d, %s, AWS %d, order of minute %v; %s; %s; %s: %v\n%s", pi, tr.name, aws.mode, since, a.name, b.name, x.name, err, aws)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d burns", n)
}

// play carries the order out and judges how.
func (a *stage) play(r Record, p Policy, since float64) error {
	now, due := at(20), at(since).Add(burnPatience)
	lost := a.hopeless(r, p, now, due)
	if now.After(due) {
		due = now
	}
	late := due.Add(3 * burnRepeat)
	if r.Key("A").Stage == Retiring {
		late = late.Add(p.Lag) // its secret is not known: IAM's list has to do
	}
	wasServed := r.Key("A").Stage == Current
	end := now.Add(a.within(p))
	for range 400 {
		w := World{Record: r, UserID: "AIDA1", Keys: slices.Clone(a.keys)}
		if err := judge(w, p, now); err != nil {
			return err
		}
		if now.After(late) && !a.refuses("A") {
			return fmt.Errorf("never ends: A works %s after it should be dead", now.Sub(due))
		}
		if a.settled(r, p, now) {
			return nil
		}
		if now.After(end) {
			break
		}
		step := Next(w, p, now)
		if err := a.judgeReaders(r, p, step, now); err != nil {
			return err
		}
		if step.Action == Dismiss && step.KeyID == "A" && !a.refuses("A") {
			return fmt.Errorf("says that it is done while AWS accepts the key")
		}
		if step.Action == Deactivate && step.KeyID == "A" && wasServed && !lost {
			if cur := r.In(Current); cur == nil || cur.ID == "A" || a.refuses(cur.ID) {
				return fmt.Errorf("never zero: no replacement although there was room")
			}
		}
		if step.Action == Wait {
			a.did = append(a.did, did{now, step})
			now = step.Wake
			continue
		}
		r, now = a.take(r, p, step, now)
	}
	if a.excused(r, p) {
		return nil
	}
	return fmt.Errorf("never zero: not all is well %s after the order: %+v", now.Sub(at(20)), r)
}

// within is how long it may take until all is well: the leaked key has a minute
// and must be seen dead, lists may be old, a new key settles. What a lost call
// made takes its time, and so does trouble.
func (a *stage) within(p Policy) time.Duration {
	d := burnPatience + 4*burnRepeat + 2*p.Lag + p.Settle + p.Evidence
	switch a.mode {
	case losesAKey:
		d += 2*p.CallTimeout + p.Lag + p.Quarantine()
	case refusesToCreate:
		d += 5*time.Minute + p.LongestRetry()
	}
	return d
}

// leakedOpen returns a key whose burn is not finished.
func (r *Record) leakedOpen() string {
	for i := range r.Keys {
		if k := &r.Keys[i]; !r.leaked(k).IsZero() && k.Dead.IsZero() {
			return k.ID
		}
	}
	return ""
}

// hopeless reports whether no replacement can be had in time.
func (a *stage) hopeless(r Record, p Policy, now, due time.Time) bool {
	b, seen := r.Key("B"), a.find("B")
	switch {
	case a.mode == refusesToCreate, a.mode == losesAKey, !now.Before(due), a.find("X") != nil, len(r.Intents) > 0:
		return true
	case b == nil && seen != nil:
		return true // somebody else's
	case b == nil:
		return false
	case b.Stage == Retiring && seen != nil && seen.Status == Active:
		return true // in use, and its secret is not known
	case a.refuses("B") && !b.Confirmed.Before(r.Order.At):
		return true // accepted after the order, and gone since
	case seen == nil && now.Sub(b.Made) <= p.Lag:
		return true // the list may lag
	case !b.Burned.IsZero() && p.Evidence > 0:
		return true // kept by order
	case now.Before(b.Again):
		return b.Again.After(at(20.5))
	}
	return false
}
