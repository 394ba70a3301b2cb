package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// keyState is one way a key can be: as the record holds it (held nil: not at
// all) and as IAM lists it (listed nil: not at all).
type keyState struct {
	name   string
	held   *Held
	listed *Key
}

// heldStates are all lives of a held key that decisions distinguish, seen at
// minute 20 of a test in which slots fall on 0, 10 and 20.
func heldStates(id string) []Held {
	h := func(f func(*Held)) Held { return with(previous(id, 8), f) }
	return []Held{
		pendingKey(id, 19.9),
		pendingKey(id, 10),
		with(pendingKey(id, 10), func(k *Held) { k.Refused = at(19.5); k.Again = at(20.5) }),
		with(pendingKey(id, 9), func(k *Held) { k.Refused = at(9.1) }),
		with(pendingKey(id, 19.8), func(k *Held) { k.Proven = at(19.95) }),
		with(pendingKey(id, 10), func(k *Held) { k.Proven = at(11) }),
		proven(pendingKey(id, 19.5)),
		proven(pendingKey(id, 10)),
		current(id, 19.5),
		current(id, 10),
		current(id, 5),
		with(current(id, 5), func(k *Held) { k.Promise = at(20.9) }),
		with(current(id, 10), func(k *Held) { k.Broken = at(15) }),
		with(current(id, 10), func(k *Held) { k.Probed = at(19.9) }),
		h(func(*Held) {}),
		h(func(k *Held) { k.Slot = at(7) }),
		h(func(k *Held) { k.Promise = at(25) }),
		h(func(k *Held) { k.Confirmed = at(20) }),
		h(func(k *Held) { k.Deactivated = at(20) }),
		h(func(k *Held) { k.Slot, k.Deactivated = at(2), at(14) }),
		h(func(k *Held) { k.Slot, k.Deactivated, k.Burned = at(2), at(14), at(14) }),
		with(pendingKey(id, -5000), func(k *Held) { k.Stage, k.Adopted = Retiring, true }),
	}
}

func keyStates(id string) []keyState {
	all := []keyState{{name: id + " does not exist"}}
	for i, h := range heldStates(id) {
		h := h
		for _, l := range []*Key{
			nil,
			{ID: id, Status: Active, Created: h.Created},
			{ID: id, Status: Active, Created: h.Created, Usage: Usage{Known: true, LastUsed: at(-4900), Surveyed: true}},
			{ID: id, Status: Active, Created: h.Created, Usage: Usage{Known: true, LastUsed: at(19), Surveyed: true, Holders: []string{"batch"}}},
			{ID: id, Status: Inactive, Created: h.Created, Usage: Usage{Surveyed: true}},
			{ID: id, Status: "Expired", Created: h.Created},
		} {
			name := "not listed"
			if l != nil {
				name = fmt.Sprintf("listed as %s, %+v", l.Status, l.Usage)
			}
			all = append(all, keyState{fmt.Sprintf("%s held #%d (%s), %s", id, i, h.Stage, name), &h, l})
		}
	}
	return all
}

func unknownStates() []keyState {
	all := []keyState{{name: "no unknown key"}}
	for _, m := range []float64{19.9, 18, -60} {
		for _, u := range []Usage{{}, {Known: true}, {Known: true, LastUsed: at(19.5)}} {
			all = append(all, keyState{
				name:   fmt.Sprintf("unknown key of minute %v, %+v", m, u),
				listed: &Key{ID: "X", Status: Active, Created: at(m), Usage: u},
			})
		}
	}
	return all
}

// TestEveryWorld enumerates every combination of two held keys, an unknown
// key, intents, tombstones, orders, pauses and policies, and holds the step
// that Next names against the rules of the design.
func TestEveryWorld(t *testing.T) {
	t.Parallel()
	now := at(20)
	policies := []Policy{
		{ProofSpan: time.Second},
		{OnInUse: Hold, Outlets: outlets},
		{OnInUse: Press, Frozen: IsFrozen, Settle: -1},
		{RotateEvery: 10 * time.Minute, DeactivateAfter: 20 * time.Minute, DeleteAfter: 20 * time.Minute},
	}
	intents := []func(Record) Record{
		func(r Record) Record { return r },
		func(r Record) Record { return r.intent(19.95, "A", "B") },
		func(r Record) Record { return r.intent(19.5, "A", "B") },
		func(r Record) Record { return r.intent(17.9) },
		func(r Record) Record { r.Gone = []Tombstone{{"X", at(19)}}; return r },
		func(r Record) Record { r.Gone = []Tombstone{{"X", at(1)}}; r.Foreign = []string{"X"}; return r },
	}
	orders := []func(Record) Record{
		func(r Record) Record { return r },
		func(r Record) Record { return r.ordered(Force, "", 19.9) },
		func(r Record) Record { return r.ordered(Rollback, "A", 19.9) },
		func(r Record) Record { return r.ordered(Burn, "A", 19.9) },
		func(r Record) Record { return r.ordered(Burn, "B", 18) },
		func(r Record) Record { r.Pause = &Pause{Since: at(1)}; return r },
		func(r Record) Record { r.RetryAt = at(20.5); return r },
	}
	n := 0
	for pi, p := range policies {
		p = p.WithDefaults()
		// All pairs of lives meet; of the listings of the second, every fifth.
		as, bs := keyStates("A"), thin(keyStates("B"), 5, pi)
		if raceEnabled {
			as = thin(as, 25, pi) // the race detector finds nothing here and costs tenfold; make test runs all without
		}
		for _, a := range as {
			for _, b := range bs {
				if twice(a, b, Current) || twice(a, b, Pending) {
					continue
				}
				base, keys := world(a, b)
				for _, x := range unknownStates() {
					ks := keys
					if x.listed != nil {
						ks = append(slices.Clip(keys), *x.listed)
					}
					for ii, in := range intents {
						for oi, or := range orders {
							w := World{Record: or(in(base)), UserID: "AIDA1", Keys: ks}
							if len(p.Outlets) > 0 {
								w.Record.Targets = targetStates[n%len(targetStates)]
							}
							n++
							if err := judge(w, p, now); err != nil {
								t.Fatalf("policy %d, intents %d, order %d, %s; %s; %s: %v", pi, ii, oi, a.name, b.name, x.name, err)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d worlds", n)
}

func thin(ks []keyState, every, from int) []keyState {
	var some []keyState
	for i := from % every; i < len(ks); i += every {
		some = append(some, ks[i])
	}
	return some
}

func twice(a, b keyState, s Stage) bool {
	return a.held != nil && b.held != nil && a.held.Stage == s && b.held.Stage == s
}

func world(states ...keyState) (Record, []Key) {
	r := rec()
	var keys []Key
	for _, k := range states {
		if k.held != nil {
			r.Keys = append(r.Keys, *k.held)
			r.Slot, r.Served = latest(r.Slot, k.held.Slot), latest(r.Served, k.held.Promoted)
		}
		if k.listed != nil {
			keys = append(keys, *k.listed)
		}
	}
	return r, keys
}

// judgeStep holds a step against the rules.
func judgeStep(w World, step Step, p Policy, now time.Time) error {
	k, seen := w.Record.Key(step.KeyID), w.listed(step.KeyID)
	burning := w.Record.Order != nil && w.Record.Order.Kind == Burn || w.Record.leakedOpen() != ""
	rollingBack := w.Record.Order != nil && w.Record.Order.Kind == Rollback
	if step.Reason == Recovering {
		return nil // see TestEveryRecovery
	}
	switch step.Action {
	case Wait:
		if !step.Wake.After(now) {
			return fmt.Errorf("waits for %s until %s, which is not after now", step.Reason, step.Wake)
		}
		return nil
	case Deactivate:
		if k == nil {
			if err := judgeOrphan(w, p, step, seen, now); err != nil {
				return err
			}
			break
		}
		if err := judgeDeactivate(w, p, k, now, burning); err != nil {
			return err
		}
	case Delete:
		if err := judgeDelete(w, p, step, k, seen, now, burning); err != nil {
			return err
		}
	case Create:
		if err := judgeCreate(w, p, now); err != nil {
			return err
		}
	case Promote:
		if k.Proven.IsZero() && k.Confirmed.IsZero() {
			return fmt.Errorf("served works: promotes %s without proof", k.ID)
		}
		if k.Stage == Pending && !burning && (k.Confirmed.IsZero() || now.Sub(k.Confirmed) > p.ProofTTL) {
			return fmt.Errorf("served works: promotes %s without a fresh confirmation", k.ID)
		}
		if err := judgePromotion(w, p, k, step, burning); err != nil {
			return err
		}
	}
	if err := judgePublished(w, p, step, now); err != nil {
		return err
	}
	paused := w.Record.Pause != nil && (w.Record.In(Current) != nil || w.Record.Served.IsZero())
	if paused && !burning && !rollingBack && step.Action != Wait && step.Action != Publish && w.Record.unsure() == nil {
		return fmt.Errorf("%s of a paused user", step.Action)
	}
	if w.Record.RetryAt.After(now) && !burning && !rollingBack && step.Action != Publish {
		return fmt.Errorf("%s while backing off", step.Action)
	}
	return judgeApply(w, p, step, now)
}

// outlets are two required ones.
var outlets = []Outlet{{Name: "t", Required: true}, {Name: "u", Required: true, Compares: true, Expires: true}}

// targetStates are what the targets of two required outlets may hold.
var targetStates = [][]Target{
	nil,
	{{Name: "t", KeyID: "A", At: at(19.9)}, {Name: "u", KeyID: "A", At: at(19.9), Until: at(22)}},
	{{Name: "t", KeyID: "B", At: at(19.9)}, {Name: "u", KeyID: "B", At: at(19.9), Until: at(22)}},
	{{Name: "t", KeyID: "A", At: at(19.9)}, {Name: "u", Tries: 3, Again: at(20.5), Error: "down"}},
	{{Name: "t", Tries: 3, Again: at(20.5), Error: "down"}, {Name: "u", KeyID: "B", At: at(-60), Until: at(19)}},
	{{Name: "t", KeyID: "gone", At: at(19.9)}, {Name: "u", Again: at(20.05)}},
}

// judgePromotion: a key is published before its promotion, unless there is
// nothing else to hand out.
func judgePromotion(w World, p Policy, k *Held, step Step, burning bool) error {
	for _, o := range p.Outlets {
		t := w.Record.Target(o.Name)
		has := t != nil && t.KeyID == k.ID
		tried := t != nil && t.Tries > 0
		cur := w.Record.In(Current)
		bereft := cur == nil || !cur.Broken.IsZero()
		if o.Required && !has && !burning && !bereft && (step.Reason != Ordered || !tried) {
			return fmt.Errorf("promotes %s unpublished", k.ID)
		}
	}
	return nil
}

func judgeDeactivate(w World, p Policy, k *Held, now time.Time, burning bool) error {
	if since := w.Record.leaked(k); !since.IsZero() {
		if k.Stage == Current && now.Sub(since) < burnPatience {
			return fmt.Errorf("burns the current key without waiting for a replacement")
		}
		return nil
	}
	cur := w.Record.In(Current)
	switch {
	case k.Stage != Previous:
		return fmt.Errorf("deactivates a key that is %s", k.Stage)
	case now.Before(k.Promise.Add(p.Grace)):
		return fmt.Errorf("served works: deactivates a key promised until %s", k.Promise)
	case now.Before(k.Slot.Add(p.DeactivateAfter)):
		return fmt.Errorf("deactivates before its age")
	case cur == nil || cur.Confirmed.IsZero() || !cur.Broken.IsZero():
		return fmt.Errorf("never zero: deactivates without a successor")
	}
	if now.Sub(latest(cur.Confirmed, cur.Probed)) > p.Lag/2 {
		return fmt.Errorf("never zero: deactivates without having checked the successor just now")
	}
	if c := w.listed(cur.ID); (c == nil || c.Status != Active) && now.Sub(latest(cur.Promoted, cur.Probed)) > p.Lag {
		return fmt.Errorf("never zero: deactivates though IAM does not list the successor as active")
	}
	return nil
}

func judgeDelete(w World, p Policy, step Step, k *Held, seen *Key, now time.Time, burning bool) error {
	if k == nil {
		return judgeOrphan(w, p, step, seen, now)
	}
	bereft := w.Record.In(Current) == nil && !w.Record.Served.IsZero()
	switch {
	case k.Stage == Pending:
		return nil // never handed out
	case burning && seen != nil && seen.Status != Active && k.Stage != Current:
		return nil // it makes room, and nobody can use it
	case !w.Record.leaked(k).IsZero() && k.Dead.IsZero() && !burning:
		return fmt.Errorf("deletes a burned key before AWS refuses it")
	case k.Stage != Previous:
		return fmt.Errorf("never zero: deletes a key that is %s", k.Stage)
	case bereft && (seen == nil || seen.Status != Active) && (!k.Refused.IsZero() || !k.Deactivated.IsZero() || k.secretless()) && k.Burned.IsZero():
		return nil // it makes room for a user without a key, and AWS refuses it
	case k.Deactivated.IsZero():
		return fmt.Errorf("deletes a key that it has not deactivated")
	case seen != nil && seen.Status == Active && now.Sub(k.Deactivated) > p.Lag && !burning:
		return fmt.Errorf("deletes an active key")
	case !k.Burned.IsZero() && now.Before(k.Deactivated.Add(p.Evidence)):
		return fmt.Errorf("deletes evidence that is to be kept")
	case now.Before(k.Deactivated.Add(p.DeleteAfter-p.DeactivateAfter)) && !burning && k.Burned.IsZero():
		return fmt.Errorf("deletes before a roll-back had its time")
	case now.Before(k.Slot.Add(p.DeleteAfter)) && now.Before(p.NextSlot(w.Record.Slot)) && !burning && k.Burned.IsZero():
		return fmt.Errorf("deletes before its age")
	}
	return nil
}

func judgeCreate(w World, p Policy, now time.Time) error {
	ids := map[string]bool{}
	for _, k := range w.Keys {
		if w.Record.tombstone(k.ID) == nil {
			ids[k.ID] = true
		}
	}
	for _, k := range w.Record.Keys {
		ids[k.ID] = true
	}
	if len(ids) >= Quota {
		return fmt.Errorf("creates a key beside %d others", len(ids))
	}
	if w.Record.In(Pending) != nil {
		return fmt.Errorf("creates a key while another is pending")
	}
	if err := judgeCreateAgain(w, p, now, Quota-len(ids)); err != nil {
		return err
	}
	if p.Frozen != "" && w.Record.Order == nil && w.Record.In(Current) != nil && w.Record.In(Current).Broken.IsZero() {
		return fmt.Errorf("starts a rotation in a maintenance window")
	}
	return nil
}

// judgeCreateAgain: while the outcome of earlier calls is unknown, another one is
// made only for a user that has nothing to be handed out, not at once, and if all
// of them leave room for it, or there is one free slot, so that at most one key
// can come of them all.
func judgeCreateAgain(w World, p Policy, now time.Time, free int) error {
	cur, open := w.Record.In(Current), 0
	pressed := cur == nil || !cur.Broken.IsZero() || !w.Record.leaked(cur).IsZero()
	for _, in := range w.Record.Intents {
		if !now.Before(in.Until.Add(p.Lag)) {
			continue
		}
		if open++; !pressed || now.Sub(in.At) < 10*time.Second {
			return fmt.Errorf("creates a key while an earlier call's outcome is unknown")
		}
	}
	if open > 0 && open >= free && (free != 1 || open > 5) {
		return fmt.Errorf("creates a key while %d calls may have filled %d slots", open, free)
	}
	return nil
}

// judgeApply checks that taking the step leaves a record that makes sense, and
// that the input was not changed by it.
func judgeApply(w World, p Policy, step Step, now time.Time) error {
	before := w.Record.Clone()
	out := Outcome{Key: Key{ID: "N", Status: Active, Created: now}, Intent: "i"}
	after := Apply(w.Record, p, step, out, now)
	if !untouched(&before, &w.Record) {
		return fmt.Errorf("Apply(%s) changed its argument", step.Action)
	}
	currents := 0
	for _, k := range after.Keys {
		if k.Stage == Current {
			currents++
		}
	}
	if currents > 1 {
		return fmt.Errorf("%d current keys after %s", currents, step.Action)
	}
	for _, k := range w.Record.Keys {
		if n := after.Key(k.ID); n != nil && n.Promise.Before(k.Promise) {
			return fmt.Errorf("served works: %s takes a promise back", step.Action)
		}
	}
	if o, ok := Serve(after, p, now); ok {
		k := after.Key(o.KeyID)
		if !o.Expiration.After(now) || k.Confirmed.IsZero() || o.Expiration.Nanosecond() != 0 {
			return fmt.Errorf("served works: after %s, %s is offered until %s", step.Action, o.KeyID, o.Expiration)
		}
		if o.Expiration.After(k.Promise) != o.Roll {
			return fmt.Errorf("served works: after %s, %s is offered until %s, promised until %s, to be saved: %v", step.Action, o.KeyID, o.Expiration, k.Promise, o.Roll)
		}
	}
	return nil
}
