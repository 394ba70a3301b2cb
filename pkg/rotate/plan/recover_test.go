package plan

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// lostWorld is a user after an older copy of the store was put in place, and
// IAM as it really is.
type lostWorld struct {
	rec     Record
	iam     []Key
	secrets map[string]bool // keys whose secrets are in the store
	named   map[string]bool // by the order
	now     time.Time
	served  bool
}

// run carries the order out and goes on for six rotations, and holds every step
// against the rules.
func (w *lostWorld) run(p Policy) error {
	ordered, made := w.now, 0
	for range 2000 {
		if w.now.Sub(ordered) > max(6*p.RotateEvery, 3*time.Minute) {
			return nil
		}
		step := Next(World{Record: w.rec, UserID: "AIDA1", Keys: slices.Clone(w.iam)}, p, w.now)
		if step.Action == Wait {
			w.now = latest(step.Wake, w.now.Add(time.Second))
			continue
		}
		var out Outcome
		i := slices.IndexFunc(w.iam, func(k Key) bool { return k.ID == step.KeyID })
		if step.Action == Deactivate || step.Action == Delete && i >= 0 && w.iam[i].Status == Active {
			if err := w.mayGo(p, step, w.iam[i], ordered); err != nil {
				return err
			}
		}
		switch step.Action {
		case Create:
			if len(w.iam) >= Quota {
				return errors.New("creates a key that there is no room for")
			}
			made++
			out.Key = Key{ID: fmt.Sprint("N", made), Status: Active, Created: w.now}
			w.iam, w.secrets[out.Key.ID] = append(w.iam, out.Key), true
		case Adopt:
			if !w.named[step.KeyID] {
				return fmt.Errorf("ours only: adopts %s", step.KeyID)
			}
			out.Key = w.iam[i]
		case Deactivate:
			w.iam[i].Status = Inactive
		case Delete:
			if i >= 0 {
				w.iam = slices.Delete(w.iam, i, i+1)
			}
		case Verify, Probe, Check:
			if !w.secrets[step.KeyID] {
				return fmt.Errorf("%s of key %s, whose secret nobody has", step.Action, step.KeyID)
			}
			out.Refused = i < 0 || w.iam[i].Status != Active
		case Survey, Inspect:
			w.iam[i].Usage.Surveyed, w.iam[i].Usage.Known = true, true
		}
		w.rec = Apply(w.rec, p, step, out, w.now)
		if _, ok := Serve(w.rec, p, w.now); ok && w.rec.In(Current).Broken.IsZero() {
			w.served = true
		}
		w.now = w.now.Add(100 * time.Millisecond)
	}
	return errors.New("does not come to an end")
}

func (w *lostWorld) mayGo(p Policy, step Step, k Key, ordered time.Time) error {
	beside := slices.ContainsFunc(w.iam, func(o Key) bool { return o.ID != k.ID && o.Status == Active })
	switch {
	case !beside:
		return fmt.Errorf("never zero: %s of %s, the last active key", step.Action, k.ID)
	case !w.secrets[k.ID] && !w.named[k.ID]:
		return fmt.Errorf("ours only: %s of %s", step.Action, k.ID)
	case !w.secrets[k.ID] && (w.now.Before(k.Created.Add(p.DeactivateAfter)) || w.now.Before(ordered.Add(p.Roll()))):
		return fmt.Errorf("served works: %s of %s, which may have been promised for longer", step.Action, k.ID)
	}
	return nil
}

// TestEveryRecovery: whatever the old record says and whatever IAM lists, an
// order to recover never takes the last key that works, nor one that may be
// promised, and ends with a key that is served if there is room for one or the
// order says who may make it.
func TestEveryRecovery(t *testing.T) {
	t.Parallel()
	quick := Policy{RotateEvery: 4 * time.Second, DeactivateAfter: 6 * time.Second, DeleteAfter: 8 * time.Second, Settle: -1}
	records := map[string]func() Record{
		"a record without keys":       func() Record { return rec() },
		"a current key":               func() Record { return rec(current("A", 0)) },
		"a current key, known broken": func() Record { return rec(with(current("A", 0), func(k *Held) { k.Broken = at(55) })) },
		"a current and a previous key": func() Record {
			return rec(with(previous("B", -10), func(k *Held) { k.Deactivated = at(2) }), current("A", 0))
		},
		"a current key, proven a moment ago": func() Record {
			return rec(with(current("A", 0), func(k *Held) { k.Promoted, k.Confirmed = at(59.95), at(59.95) }))
		},
		"a pending key": func() Record { return rec(pendingKey("A", 0)) },
	}
	lost := []Key{ // X is newer than the record, F is older
		active("A", 0), inactive("A", 0), active("X", 50), active("X", 59), inactive("X", 50), active("Y", 40), inactive("Y", 40), active("F", -60),
	}
	var lists [][]Key
	lists = append(lists, nil)
	for i, a := range lost {
		lists = append(lists, []Key{a})
		for _, b := range lost[i+1:] {
			if a.ID != b.ID {
				lists = append(lists, []Key{a, b})
			}
		}
	}
	n, served := 0, 0
	for name, record := range records {
		for i, keys := range append(slices.Clone(lists), lists...) {
			p := Policy{}.WithDefaults()
			if i >= len(lists) {
				p = quick.WithDefaults()
			}
			for _, named := range []string{"", "A", "X", "Y", "F"} {
				w := &lostWorld{
					rec: record().ordered(Recover, named, 60), iam: slices.Clone(keys), now: at(60),
					secrets: map[string]bool{"A": true, "B": true}, named: map[string]bool{named: true},
				}
				w.rec.Enrolled = at(-50)
				if w.rec.Key("A") == nil {
					w.secrets = map[string]bool{}
				}
				for _, k := range keys {
					if (&World{Record: w.rec}).Lost(k) {
						w.rec.Order.Lost, w.named[k.ID] = append(w.rec.Order.Lost, k.ID), true
					}
				}
				n++
				if err := w.run(p); err != nil {
					t.Errorf("%s, IAM lists %s, the order names %q: %v", name, words(keys), named, err)
				}
				room := len(keys) < Quota || slices.ContainsFunc(keys, func(k Key) bool { return k.ID == named && (k.Status != Active || active2(keys)) })
				if w.served {
					served++
				} else if room {
					t.Errorf("%s, IAM lists %s, the order names %q: nothing is served at the end: %+v", name, words(keys), named, w.rec)
				}
			}
		}
	}
	t.Logf("%d worlds, in %d of them a key is served at the end", n, served)
}

func active2(keys []Key) bool {
	return !slices.ContainsFunc(keys, func(k Key) bool { return k.Status != Active })
}

func words(keys []Key) (s string) {
	for _, k := range keys {
		s += fmt.Sprintf("%s (%s, minute %.0f) ", k.ID, k.Status, k.Created.Sub(t0).Minutes())
	}
	return s
}
