package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEveryBurn orders a burn in every world that two held keys, an unknown
// one, a lost call, a pause, a back-off and another burn make, and plays it out
// with an AWS that is sound, that refuses to make keys, or that acknowledges a
// deactivation without doing it. The leaked key must be dead in time, AWS must
// have been seen to refuse it before the order ends, and if there was room for
// a replacement, the user must have one.
func TestEveryBurn(t *testing.T) {
	t.Parallel()
	policies := []Policy{
		{},
		{Evidence: time.Hour, Frozen: IsFrozen},
		{RotateEvery: 10 * time.Minute, DeactivateAfter: 20 * time.Minute, DeleteAfter: 20 * time.Minute},
	}
	troubles := []struct {
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
			for bi, b := range thin(keyStates("B"), 5, ai+pi) {
				if twice(a, b, Current) || twice(a, b, Pending) {
					continue
				}
				base, keys := world(a, b)
				for _, x := range thin(unknownStates(), 7, bi) {
					for ti, tr := range troubles {
						ks := slices.Clone(keys)
						if x.listed != nil {
							ks = append(ks, *x.listed)
						}
						for _, since := range []float64{18, 20} {
							n++
							aws := &burnAWS{keys: slices.Clone(ks), mode: (ai + bi + ti) % 3}
							r, _ := tr.do(base).Ordered(Order{Kind: Burn, KeyID: "A", At: at(since)})
							if err := aws.play(r, p, since); err != nil {
								t.Fatalf("policy %d, %s, AWS %d, order of minute %v; %s; %s; %s: %v\n%s", pi, tr.name, aws.mode, since, a.name, b.name, x.name, err, aws.log)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d burns", n)
}

// How the AWS of a burn behaves.
const (
	sound = iota
	refusesToCreate
	ignoresTheFirstDeactivation
)

type burnAWS struct {
	keys []Key
	mode int
	deaf bool // has ignored a deactivation
	made int
	log  string
}

func (a *burnAWS) find(id string) *Key {
	for i := range a.keys {
		if a.keys[i].ID == id {
			return &a.keys[i]
		}
	}
	return nil
}

func (a *burnAWS) refuses(id string) bool {
	k := a.find(id)
	return k == nil || k.Status != Active
}

// play carries the order out and judges how.
func (a *burnAWS) play(r Record, p Policy, since float64) error {
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
	for range 400 {
		w := World{Record: r, UserID: "AIDA1", Keys: slices.Clone(a.keys)}
		if err := judge(w, p, now); err != nil {
			return err
		}
		if now.After(late) && !a.refuses("A") {
			return fmt.Errorf("never ends: A works %s after it should be dead", now.Sub(due))
		}
		if r.Order == nil && r.leakedOpen() == "" {
			return nil
		}
		step := Next(w, p, now)
		a.log += fmt.Sprintf("%s %s %s %s\n", now.Sub(at(20)), step.Action, step.KeyID, step.Reason)
		if step.Action == Dismiss && step.KeyID == "A" && !a.refuses("A") {
			return fmt.Errorf("says that it is done while AWS accepts the key")
		}
		if step.Action == Deactivate && step.KeyID == "A" && wasServed && !lost {
			if cur := r.In(Current); cur == nil || cur.ID == "A" || a.refuses(cur.ID) {
				return fmt.Errorf("never zero: no replacement although there was room")
			}
		}
		if step.Action == Wait {
			now = step.Wake
			continue
		}
		out, failed := a.act(step, now)
		if failed {
			r = r.Failed(p, step, "refused", now)
			now = now.Add(time.Second)
			continue
		}
		if step.Action == Create {
			r = r.WithIntent("new", p, step, nil, now)
		}
		r = Apply(r, p, step, out, now)
	}
	return fmt.Errorf("no end after 400 steps: order %+v", r.Order)
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
func (a *burnAWS) hopeless(r Record, p Policy, now, due time.Time) bool {
	b, seen := r.Key("B"), a.find("B")
	switch {
	case a.mode == refusesToCreate, !now.Before(due), a.find("X") != nil, len(r.Intents) > 0:
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

func (a *burnAWS) act(step Step, now time.Time) (out Outcome, failed bool) {
	k := a.find(step.KeyID)
	switch step.Action {
	case Create:
		if a.mode == refusesToCreate {
			return out, true
		}
		a.made++
		out.Key = Key{ID: fmt.Sprint("N", a.made), Status: Active, Created: now}
		out.Intent = "new"
		a.keys = append(a.keys, out.Key)
	case Deactivate:
		if a.mode == ignoresTheFirstDeactivation && !a.deaf {
			a.deaf = true
		} else if k != nil {
			k.Status = Inactive
		}
	case Reactivate:
		if k != nil {
			k.Status = Active
		}
	case Delete:
		a.keys = slices.DeleteFunc(a.keys, func(k Key) bool { return k.ID == step.KeyID })
	case Verify, Probe, Check:
		out.Refused = a.refuses(step.KeyID)
	case Inspect:
		k.Usage.Known = true
	case Survey:
		k.Usage.Surveyed = true
	}
	return out, false
}
