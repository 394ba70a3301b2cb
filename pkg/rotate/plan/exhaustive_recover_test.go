package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// recovery is an order to recover: the key that may make room, and the lost ones.
type recovery struct {
	room string
	lost []string
}

func (o recovery) of(r Record, m float64) Record {
	r, _ = r.Ordered(Order{Kind: Recover, KeyID: o.room, Lost: o.lost, At: at(m)})
	return r
}

func (o recovery) names(id string) bool {
	return id != "" && id == o.room || slices.Contains(o.lost, id)
}

var recoveries = []recovery{
	{"", nil}, {"", []string{"X"}}, {"X", []string{"X"}}, {"A", []string{"X"}}, {"B", []string{"A", "X"}}, {"X", nil},
}

// besides are what there may be beside an order.
var besides = []struct {
	name string
	do   func(Record) Record
}{
	{"nothing else", func(r Record) Record { return r }},
	{"a lost call", func(r Record) Record { return r.intent(19.9, "A", "B") }},
	{"a lost call of before", func(r Record) Record { return r.intent(17.9) }},
	{"a pause", func(r Record) Record { r.Pause = &Pause{Since: at(1)}; return r }},
	{"a failure", func(r Record) Record { r.RetryAt, r.Failures = at(20.5), 2; return r }},
	{"a burn", func(r Record) Record {
		if r.Key("A") != nil {
			r, _ = r.Ordered(Order{Kind: Burn, KeyID: "A", At: at(19.98)})
		}
		return r
	}},
	{"an orphan", func(r Record) Record { r.Orphans = []Tombstone{{"X", at(19.9)}}; return r.intent(18.9, "A", "B") }},
	{"a foreign key that was reported", func(r Record) Record { r.Foreign = []string{"X"}; return r }},
	{"a key that was deleted", func(r Record) Record { r.Gone = []Tombstone{{"X", at(19)}}; return r }},
}

var recoverPolicies = []Policy{
	{},
	{OnInUse: Hold, Outlets: []Outlet{{Name: "t", Required: true}, {Name: "u", Required: true, Compares: true, Expires: true}}},
	{OnInUse: Press, Frozen: IsFrozen, Settle: -1},
	{RotateEvery: 10 * time.Minute, DeactivateAfter: 20 * time.Minute, DeleteAfter: 20 * time.Minute},
}

// TestEveryWorldWithARecovery holds the step that Next names while an order to
// recover is open against the rules, in every world that two held keys, an
// unknown one and something else make; and plays one in 101 of them out, with
// an AWS that is sound, and with one that refuses to make keys.
func TestEveryWorldWithARecovery(t *testing.T) {
	t.Parallel()
	n, played, served := 0, 0, 0
	for pi, p := range recoverPolicies {
		p = p.WithDefaults()
		as, bs := keyStates("A"), thin(keyStates("B"), 9, pi)
		if raceEnabled {
			as = thin(as, 25, pi) // see TestEveryWorld
		}
		for _, a := range as {
			for _, b := range bs {
				if twice(a, b, Current) || twice(a, b, Pending) {
					continue
				}
				base, keys := world(a, b)
				if len(p.Outlets) > 0 {
					base.Targets = targetStates[n%len(targetStates)]
				}
				for _, x := range thin(unknownStates(), 3, n/7) {
					ks := slices.Clone(keys)
					if x.listed != nil {
						ks = append(ks, *x.listed)
					}
					for _, tr := range besides {
						for oi, o := range recoveries {
							n++
							w := &recoveredWorld{rec: o.of(tr.do(base), 19.99), named: o, iam: &stage{keys: slices.Clone(ks), holds: map[string]string{}}, now: at(20)}
							err := w.step(p)
							if n%101 == 0 && err == nil {
								played++
								w.iam.mode = played % 2 // sound or refusesToCreate
								err = w.play(p)
							}
							if err != nil {
								t.Fatalf("policy %d, %s, order %d; %s; %s; %s: %v\n%s", pi, tr.name, oi, a.name, b.name, x.name, err, w.iam)
							}
							if w.served {
								served++
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d worlds, %d of them played out; in %d a key is served in the end", n, played, served)
}

type recoveredWorld struct {
	rec    Record
	named  recovery
	iam    *stage
	now    time.Time
	served bool
}

// play goes on until long after the order.
func (w *recoveredWorld) play(p Policy) error {
	alone, paused := len(w.iam.keys) < Quota && len(w.rec.Keys) < Quota, w.rec.Pause != nil
	for range 2000 {
		if w.now.After(at(20).Add(4 * p.DeleteAfter)) {
			_, w.served = Serve(w.rec, p, w.now)
			if alone && !paused && !w.served && w.iam.mode == sound {
				return fmt.Errorf("there is room for a new key, and none is served in the end: %+v", w.rec)
			}
			return nil
		}
		if err := w.step(p); err != nil {
			return err
		}
	}
	return fmt.Errorf("does not come to an end")
}

// step takes one step, or waits, and judges it.
func (w *recoveredWorld) step(p Policy) error {
	wd := World{Record: w.rec, UserID: "AIDA1", Keys: slices.Clone(w.iam.keys)}
	step := Next(wd, p, w.now)
	if err := w.judge(wd, p, step); err != nil {
		return err
	}
	if step.Action == Wait {
		w.iam.did = append(w.iam.did, did{w.now, step})
		w.now = step.Wake
		return nil
	}
	w.rec, w.now = w.iam.take(w.rec, p, step, w.now)
	return nil
}

// judge adds to the rules of all steps: only what the order names is adopted or
// makes room, and not before what may have been promised for it has passed, nor
// as the last one; and nobody asks STS about a key without its secret.
func (w *recoveredWorld) judge(wd World, p Policy, step Step) error {
	k, seen := w.rec.Key(step.KeyID), w.iam.find(step.KeyID)
	switch {
	case step.Action == Adopt && (!w.named.names(step.KeyID) || seen == nil || k != nil && k.Stage != Retiring):
		return fmt.Errorf("ours only: adopts %s, which is held as %+v", step.KeyID, k)
	case k != nil && k.secretless() && (step.Action == Verify || step.Action == Probe || step.Action == Promote || step.Action == Reactivate):
		return fmt.Errorf("served works: %s of %s, whose secret nobody has", step.Action, k.ID)
	case step.Reason != Recovering || !step.Action.Mutates() || step.Action == Create:
		return judge(wd, p, w.now)
	case k == nil || step.KeyID != w.named.room:
		return fmt.Errorf("ours only: %s of %s to make room", step.Action, step.KeyID)
	case step.Action == Delete && (seen == nil || seen.Status == Active):
		return fmt.Errorf("never zero: deletes %s, which is active, to make room", k.ID)
	case step.Action == Reactivate:
		return fmt.Errorf("%s to make room", step.Action)
	case len(w.iam.keys) < Quota:
		return fmt.Errorf("makes room by %s of %s, and there is room", step.Action, k.ID)
	}
	if step.Action == Deactivate {
		beside := slices.ContainsFunc(w.iam.keys, func(o Key) bool {
			h := w.rec.Key(o.ID)
			return o.ID != k.ID && o.Status == Active && (h == nil || h.Broken.IsZero())
		})
		switch {
		case !beside:
			return fmt.Errorf("never zero: deactivates %s to make room, the last active key", k.ID)
		case w.now.Before(k.Promise.Add(p.Grace)), w.now.Before(k.Slot.Add(p.DeactivateAfter)):
			return fmt.Errorf("served works: deactivates %s to make room, which may be promised until %s", k.ID, k.Promise)
		case k.Stage == Current && k.Broken.IsZero():
			return fmt.Errorf("never zero: deactivates %s to make room, which is served", k.ID)
		}
	}
	return judgeApply(wd, p, step, w.now)
}
