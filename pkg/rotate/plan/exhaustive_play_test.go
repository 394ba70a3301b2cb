package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// What goes wrong while a plan is played out.
const (
	sound                       = iota
	refusesToCreate             // for five minutes
	ignoresTheFirstDeactivation // acknowledges it
	failsToDeactivate           // three times
	losesACreation              // no answer, no effect
	losesAKey                   // no answer, but the key is made
	targetsFail                 // three times each
	troubles
)

// stage is an AWS, and targets, that a plan is played out on.
type stage struct {
	keys  []Key
	holds map[string]string // what each target's readers use
	mode  int
	fails map[string]int // how often something failed
	made  int
	owed  int // steps that came before a publication that is owed
	did   []did
}

// did is a step that was taken, or a wait.
type did struct {
	at time.Time
	Step
}

func (a *stage) String() (log string) {
	for _, d := range a.did {
		log += fmt.Sprintf("%s %s %s %s", d.at.Sub(at(20)), d.Action, d.KeyID, d.Reason)
		if d.Action == Wait {
			log += fmt.Sprintf(" until %s", d.Wake.Sub(at(20)))
		}
		log += "\n"
	}
	return log
}

func (a *stage) find(id string) *Key {
	for i := range a.keys {
		if a.keys[i].ID == id {
			return &a.keys[i]
		}
	}
	return nil
}

func (a *stage) refuses(id string) bool {
	k := a.find(id)
	return k == nil || k.Status != Active
}

// once reports whether what is to fail n times fails once more.
func (a *stage) once(what string, n int) bool {
	if a.fails == nil {
		a.fails = map[string]int{}
	}
	a.fails[what]++
	return a.fails[what] <= n
}

// take takes one step at now, and what the pass does after a failure.
func (a *stage) take(r Record, p Policy, step Step, now time.Time) (Record, time.Time) {
	a.did = append(a.did, did{now, step})
	if step.Action == Create {
		r = r.WithIntent(fmt.Sprint("call ", a.made, len(r.Intents), now), p, step, a.keys, now)
	}
	out, failed := a.act(r, p, step, now)
	if !failed {
		return Apply(r, p, step, out, now), now.Add(time.Millisecond)
	}
	r = r.Failed(p, step, "refused", now)
	if step.Action == Create && a.mode == refusesToCreate {
		r = r.Without(r.Intents[len(r.Intents)-1].ID)
	}
	if blind := Next(World{Record: r, Blind: true}, p, now); blind.Action == Publish {
		r, _ = a.take(r, p, blind, now)
	}
	return r, now.Add(time.Second)
}

func (a *stage) act(r Record, p Policy, step Step, now time.Time) (out Outcome, failed bool) {
	k := a.find(step.KeyID)
	switch step.Action {
	case Create:
		if a.mode == refusesToCreate && now.Before(at(25)) || a.mode == losesACreation && a.once("create", 1) {
			return out, true
		}
		a.made++
		out.Key = Key{ID: fmt.Sprint("N", a.made), Status: Active, Created: now}
		out.Intent = r.Intents[len(r.Intents)-1].ID
		a.keys = append(a.keys, out.Key)
		return out, a.mode == losesAKey && a.once("create", 1)
	case Deactivate:
		switch {
		case a.mode == failsToDeactivate && a.once("deactivate", 3):
			return out, true
		case a.mode == ignoresTheFirstDeactivation && a.once("deactivate", 1):
		case k != nil:
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
	case Adopt:
		out.Key = *k
	case Inspect:
		k.Usage.Known = true
	case Survey:
		a.once("survey "+step.KeyID, 0)
		if k != nil {
			k.Usage.Surveyed = true
		}
	case Publish:
		return a.publish(r, p, step, now), false
	}
	return out, false
}

func (a *stage) publish(r Record, p Policy, step Step, now time.Time) (out Outcome) {
	for _, o := range r.Owed(p, step.KeyID, true, now) {
		if a.mode == targetsFail && a.once(o.Name, 3) {
			out.Answers = append(out.Answers, Answer{Name: o.Name, Error: "down"})
			continue
		}
		a.holds[o.Name] = step.KeyID
		until := latest(o.Until, r.Key(step.KeyID).Slot.Add(p.DeactivateAfter-p.Grace))
		out.Answers = append(out.Answers, Answer{Name: o.Name, Until: until})
	}
	return out
}

// settled reports whether all is as it should be: what is handed out works, each
// required target holds it, no burned key works, and nothing is ordered.
func (a *stage) settled(r Record, p Policy, now time.Time) bool {
	o, ok := Serve(r, p, now)
	if !ok || a.refuses(o.KeyID) || r.Order != nil {
		return false
	}
	for i := range r.Keys {
		if k := &r.Keys[i]; !r.leaked(k).IsZero() && (k.Dead.IsZero() || !a.refuses(k.ID)) {
			return false
		}
	}
	return !slices.ContainsFunc(p.Outlets, func(out Outlet) bool { return out.Required && a.holds[out.Name] != o.KeyID })
}

// judgeReaders holds what readers of targets have against what is served, before
// each step. Once a key is served that a target should be given, no more than
// the three steps of a burn come before that; and before a wait, each target
// holds the served key, or the one that is about to be served, which works or did
// a moment ago; or it failed, and is asked again after one retry.
func (a *stage) judgeReaders(r Record, p Policy, step Step, now time.Time) error {
	cur := r.In(Current)
	if cur == nil || !cur.Broken.IsZero() || !r.leaked(cur).IsZero() || r.unsure() != nil {
		a.owed = 0
		return nil
	}
	owed := false
	for _, o := range p.Outlets {
		has, t := a.holds[o.Name], r.Target(o.Name)
		next := r.Key(has)
		switch {
		case !o.Required, has == cur.ID:
			continue
		case t != nil && t.KeyID == has && next != nil && (!a.refuses(has) || now.Sub(latest(next.Confirmed, next.Made)) <= 2*p.Lag) && (next.Stage == Pending || r.Order != nil && r.Order.Kind == Rollback && r.Order.KeyID == has):
			if o.Expires && step.Action == Wait && !t.Until.After(now) {
				return fmt.Errorf("published: %s holds %s, which is on its way, until %s", o.Name, has, t.Until)
			}
			continue
		case t != nil && t.Again.After(now) && !t.Again.After(now.Add(p.LongestRetry())):
			if step.Action == Wait && step.Wake.After(t.Again) {
				return fmt.Errorf("published: %s failed, and is not asked again before %s", o.Name, step.Wake)
			}
			continue
		}
		owed = true
		if step.Action == Wait {
			return fmt.Errorf("published: %s serves, %s holds %q, and %s comes first", cur.ID, o.Name, has, step.Reason)
		}
	}
	if !owed || step.Action == Publish {
		a.owed = 0
	} else if a.owed++; a.owed > 4 {
		return fmt.Errorf("published: %s serves, and %s %s comes before its publication, as did %d steps", cur.ID, step.Action, step.Reason, a.owed)
	}
	return nil
}

// excused reports whether it is for somebody else that the user has no key: what
// was never served, or what somebody spoiled, waits for the end of a pause or a
// window; and there is no room beside a foreign key and one that must stay.
func (a *stage) excused(r Record, p Policy) bool {
	cur := r.In(Current)
	spoilt := cur != nil && (a.refuses(cur.ID) || !cur.Broken.IsZero())
	foreign := slices.ContainsFunc(a.keys, func(k Key) bool { return r.Key(k.ID) == nil && slices.Contains(r.Foreign, k.ID) })
	return r.Served.IsZero() && (p.Frozen != "" || r.Pause != nil) || spoilt && (r.Pause != nil || foreign) || foreign && r.In(Retiring) != nil
}

// judgePublished: the Current key is never more than one retry away from being
// published to each required outlet, whatever promoted it and whatever else
// there is to do. A burn that must end a leak first does so in a few steps, and
// what comes right after them is the publication. A key that is leaked or
// refused is given to nobody; what becomes of its readers, [stage] shows.
func judgePublished(w World, p Policy, step Step, now time.Time) error {
	r := w.Record
	cur := r.In(Current)
	if cur == nil {
		return nil
	}
	if !w.Blind && len(p.Outlets) > 0 { // nor does AWS stand in the way
		w := w
		w.Blind = true
		blind := Next(w, p, now)
		if blind.Action != Publish && blind.Action != Wait {
			return fmt.Errorf("%s without AWS", blind.Action)
		}
		if err := judgePublished(w, p, blind, now); err != nil {
			return fmt.Errorf("without AWS: %w", err)
		}
	}
	if !cur.Broken.IsZero() || !r.leaked(cur).IsZero() || r.unsure() != nil {
		if (step.Action == Publish || step.Action == Copy) && step.KeyID == cur.ID {
			return fmt.Errorf("published: gives readers %s, which is leaked, refused or not asked since a restore", cur.ID)
		}
		return nil
	}
	for _, o := range p.Outlets {
		t := r.Target(o.Name)
		switch {
		case !o.Required, t != nil && t.KeyID == cur.ID, t != nil && r.onItsWay(t.KeyID) && !r.held(t.KeyID, now):
			continue
		case t != nil && t.Again.After(now) && (step.Action != Wait || !step.Wake.After(t.Again)):
			continue
		case publishedSoon(w, p, step, now, cur.ID):
			continue
		}
		return fmt.Errorf("published: %s serves and %s does not hold it, and %s %s comes first", cur.ID, o.Name, step.Action, step.Reason)
	}
	return nil
}

// publishedSoon reports whether the step is the publication of the key, or one of
// at most three of a burn after which that comes at once.
func publishedSoon(w World, p Policy, step Step, now time.Time, id string) bool {
	w.Keys = slices.Clone(w.Keys)
	for range 4 {
		switch {
		case step.Action == Publish && step.KeyID == id:
			return true
		case step.Action == Wait, step.Action != Dismiss && step.Reason != Burning:
			return false
		}
		w.Record = Apply(w.Record, p, step, Outcome{Refused: step.Action == Check}, now)
		if k := w.listed(step.KeyID); k != nil && step.Action == Deactivate {
			k.Status = Inactive
		}
		step = Next(w, p, now)
	}
	return false
}

// TestReadersOfEveryWorld plays worlds out for half an hour, with orders and
// without, and holds what targets hold against what is served at each step.
func TestReadersOfEveryWorld(t *testing.T) {
	t.Parallel()
	orders := []func(Record) Record{
		func(r Record) Record { return r },
		func(r Record) Record { return r.ordered(Rollback, "A", 19.9) },
		func(r Record) Record { return r.ordered(Rollback, "B", 19.9) },
		func(r Record) Record { r.Pause = &Pause{Since: at(1)}; return r },
		func(r Record) Record { r.RetryAt, r.Failures = at(20.5), 3; return r },
		func(r Record) Record { return r.ordered(Recover, "A", 19.9) },
	}
	p := Policy{Outlets: outlets}.WithDefaults()
	n := 0
	as := keyStates("A")
	if raceEnabled {
		as = thin(as, 25, 0)
	}
	for ai, a := range as {
		for bi, b := range thin(keyStates("B"), 5, ai) {
			if twice(a, b, Current) || twice(a, b, Pending) {
				continue
			}
			r, keys := world(a, b)
			for oi, or := range orders {
				n++
				r := or(r.Clone())
				r.Targets = targetStates[n%len(targetStates)]
				s := &stage{keys: slices.Clone(keys), holds: map[string]string{}, mode: (ai + bi + oi) % troubles}
				for _, o := range r.Targets {
					s.holds[o.Name] = o.KeyID
				}
				if err := s.playFor(r, p, 30*time.Minute); err != nil {
					t.Fatalf("order %d, trouble %d, %s; %s: %v\n%s", oi, s.mode, a.name, b.name, err, s)
				}
			}
		}
	}
	t.Logf("%d worlds", n)
}

// playFor plays a world out for d.
func (a *stage) playFor(r Record, p Policy, d time.Duration) error {
	now, end := at(20), at(20).Add(d)
	seen, acted := false, false
	for range 800 {
		w := World{Record: r, UserID: "AIDA1", Keys: slices.Clone(a.keys)}
		if err := judge(w, p, now); err != nil {
			return err
		}
		step := Next(w, p, now)
		if !seen {
			if step = Next(a.unseen(r), p, now); step.Action == Look || step.Action == Wait && !acted {
				seen = true
				continue
			}
		}
		if err := a.judgeReaders(r, p, step, now); err != nil {
			return err
		}
		switch {
		case now.After(end):
			return nil
		case step.Action == Wait:
			a.did = append(a.did, did{now, step})
			now, seen, acted = step.Wake, false, false
		default:
			acted = true
			r, now = a.take(r, p, step, now)
		}
	}
	return fmt.Errorf("more than 800 steps")
}

// unseen is what a pass knows before it looks: who holds a key was asked already.
func (a *stage) unseen(r Record) World {
	w := Unseen(r)
	for i := range w.Keys {
		w.Keys[i].Usage.Surveyed = a.fails["survey "+w.Keys[i].ID] > 0
	}
	return w
}
