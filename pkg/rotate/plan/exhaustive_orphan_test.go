package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEveryOrphan enumerates what two keys that the record does not hold can
// look like after lost calls, with and without a served key, and holds every
// step against the rules.
func TestEveryOrphan(t *testing.T) {
	t.Parallel()
	now := at(20)
	var looks []*Key
	for _, m := range []float64{-60, 17.9, 18.1, 19.9} {
		for _, s := range []Status{Active, Inactive, "Expired"} {
			for _, u := range []Usage{{}, {Known: true}, {Known: true, LastUsed: at(19.5)}} {
				looks = append(looks, &Key{Status: s, Created: at(m), Usage: u})
			}
		}
	}
	if raceEnabled { // as TestEveryWorld
		looks = slices.DeleteFunc(looks, func(k *Key) bool { return k.Status == "Expired" || !k.Usage.Known })
	}
	looks = append(looks, nil)
	records := []func(Record) Record{
		func(r Record) Record { return r },
		func(r Record) Record { return r.intent(18) },
		func(r Record) Record { return r.intent(18, "Y") },
		func(r Record) Record { return r.intent(17.8).intent(18) },
		func(r Record) Record { return r.intent(17.8, "A").intent(18, "A") },
		func(r Record) Record { return r.intent(19.9) },
	}
	marks := []func(Record) Record{
		func(r Record) Record { return r },
		func(r Record) Record { return r.orphaned("X", 18.5) },
		func(r Record) Record { return r.orphaned("X", 19.5) },
		func(r Record) Record { return r.orphaned("X", 18).orphaned("Y", 18) },
		func(r Record) Record { return foreign(r, "X") },
		func(r Record) Record { return foreign(r.orphaned("X", 18.5), "X") },
		func(r Record) Record { return foreign(r.orphaned("X", -10), "X") },
		func(r Record) Record { r.Gone = []Tombstone{{"X", at(1)}}; return r },
	}
	bases := []Record{rec(), rec(current("A", 10)), rec(checked("A", 10, 20)), rec(current("A", 10)).ordered(Burn, "A", 19.9)}
	n := 0
	for _, p := range []Policy{{}, {RotateEvery: at(600).Sub(at(0)), DeactivateAfter: at(640).Sub(at(0)), DeleteAfter: at(700).Sub(at(0))}} {
		p = p.WithDefaults()
		for bi, base := range bases {
			for ri, rf := range records {
				for mi, mf := range marks {
					for _, x := range looks {
						for _, y := range looks {
							var keys []Key
							if k := base.In(Current); k != nil {
								keys = append(keys, active("A", 10))
							}
							keys = append(keys, named("X", x)...)
							keys = append(keys, named("Y", y)...)
							w := World{Record: mf(rf(base.Clone())), UserID: "AIDA1", Keys: keys}
							n++
							if err := judge(w, p, now); err != nil {
								t.Fatalf("base %d, intents %d, marks %d, %+v: %v", bi, ri, mi, keys, err)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d worlds", n)
}

func named(id string, k *Key) []Key {
	if k == nil {
		return nil
	}
	c := *k
	c.ID = id
	return []Key{c}
}

// judgeOrphan holds a change of a key that the record does not hold against
// the rules: only a lost call of keyrot's explains it, nobody has used it, it
// was inactive for a while, and nobody made it active again.
func judgeOrphan(w World, p Policy, step Step, seen *Key, now time.Time) error {
	r := w.Record
	mark := r.orphan(step.KeyID)
	if step.Action == Delete && r.tombstone(step.KeyID) != nil {
		return nil
	}
	in := r.intentFor(*seen, p)
	switch {
	case in == nil && mark == nil:
		return fmt.Errorf("ours only: %s of %s, which no intent explains", step.Action, step.KeyID)
	case mark == nil && now.Before(in.Until):
		return fmt.Errorf("%s of %s while the call that may have made it is under way", step.Action, step.KeyID)
	case slices.Contains(r.Foreign, step.KeyID) && (mark == nil || step.Action != Deactivate || seen.Status == Active):
		return fmt.Errorf("ours only: %s of %s, which was reported as foreign", step.Action, step.KeyID)
	case !seen.Usage.Known || !seen.Usage.LastUsed.IsZero():
		return fmt.Errorf("ours only: %s of %s, which may be in use", step.Action, step.KeyID)
	case step.Action == Delete && (mark == nil || now.Before(mark.At.Add(p.Quarantine()))):
		return fmt.Errorf("ours only: deletes %s before its owner could say a word", step.KeyID)
	case step.Action == Delete && seen.Status == Active:
		return fmt.Errorf("ours only: deletes %s, which somebody made active again", step.KeyID)
	}
	after := Apply(r, p, step, Outcome{}, now)
	if m := after.orphan(step.KeyID); step.Action == Deactivate && (m == nil || !m.At.Equal(now) || slices.Contains(after.Foreign, step.KeyID)) {
		return fmt.Errorf("orphans die: %s is made inactive and not remembered: %+v, foreign: %v", step.KeyID, after.Orphans, after.Foreign)
	}
	// With one call lost, one key is keyrot's.
	unknown, lost := 0, 0
	for _, k := range w.Keys {
		if r.Key(k.ID) == nil && r.tombstone(k.ID) == nil && r.intentFor(k, p) != nil {
			unknown++
		}
	}
	for i := range r.Intents {
		if slices.ContainsFunc(w.Keys, func(k Key) bool { return r.Key(k.ID) == nil && r.Intents[i].mayHaveMade(k, p) }) {
			lost++
		}
	}
	if len(r.Intents) > 1 && len(r.Intents[1].Seen) > 0 {
		lost = min(lost, Quota-1) // both had the one free slot
	}
	if unknown > lost {
		return fmt.Errorf("ours only: %s of %s, one of %d keys that %d lost calls may have made", step.Action, step.KeyID, unknown, lost)
	}
	return nil
}
