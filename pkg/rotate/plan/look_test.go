package plan

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// judge holds one decision against the rules, and the one without a look.
func judge(w World, p Policy, now time.Time) error {
	step := Next(w, p, now)
	if err := judgeStep(w, step, p, now); err != nil {
		return err
	}
	return errors.Join(judgeIdentity(w, step, p, now), judgeUnseen(w, p, now))
}

// judgeIdentity: a key is created only if IAM has shown whose list it is.
func judgeIdentity(w World, step Step, p Policy, now time.Time) error {
	if step.Action != Create {
		return nil
	}
	w.UserID = ""
	shown := slices.ContainsFunc(w.Keys, func(k Key) bool { return w.Record.Key(k.ID) != nil })
	if got := Next(w, p, now).Action; !shown && got != Identify || shown && got != Create {
		return fmt.Errorf("%s before a creation, while a held key is listed: %v", got, shown)
	}
	w.UserID = "AIDA2"
	if got := Next(w, p, now); got.Reason != Stranger {
		return fmt.Errorf("%s %s for a stranger", got.Action, got.Reason)
	}
	return nil
}

// judgeUnseen holds what is decided without a look against the rules, whatever
// IAM lists: nothing is created or deleted, nothing that is out of the ordinary is
// dealt with, and a key is relied on only if AWS accepted it a moment ago.
func judgeUnseen(w World, p Policy, now time.Time) error {
	r := w.Record
	step := Next(Unseen(r), p, now)
	if step.Action == Look {
		return nil
	}
	if r.Order != nil || r.Pause != nil || r.RetryAt.After(now) || r.leakedOpen() != "" || len(r.Intents)+len(r.Foreign) > 0 {
		return fmt.Errorf("%s %s without a look, though not all is well", step.Action, step.Reason)
	}
	var relies *Held
	switch step.Action {
	case Wait:
		if step.Reason.Stuck() {
			return fmt.Errorf("stuck for %s without a look", step.Reason)
		}
		return nil
	case Verify, Probe, Survey:
		return nil
	case Promote, Publish, Copy:
		relies = r.Key(step.KeyID)
	case Deactivate:
		relies = r.In(Current)
	default:
		return fmt.Errorf("%s %s without a look", step.Action, step.Reason)
	}
	if now.Sub(latest(relies.Confirmed, relies.Probed)) > p.Lag/2 || !relies.Broken.IsZero() {
		return fmt.Errorf("never zero: %s without a look, and AWS did not accept %s just now", step.Action, relies.ID)
	}
	if err := judgeStep(w, step, p, now); err != nil {
		return fmt.Errorf("without a look: %w", err)
	}
	return nil
}

func TestUnseen(t *testing.T) {
	t.Parallel()
	a, b := previous("A", 8), current("B", 20)
	fresh := with(b, func(k *Held) { k.Confirmed, k.Promoted = at(20.9), at(20.9) })
	for name, tc := range map[string]struct {
		keys   []Held
		change func(*Record)
		now    float64
		want   Action
	}{
		"a new key is proven without a look":                         {[]Held{current("A", 10), pendingKey("B", 20)}, nil, 20.1, Verify},
		"a proven one is promoted":                                   {[]Held{current("A", 10), with(proven(pendingKey("B", 20)), func(k *Held) { k.Confirmed = at(20.9) })}, nil, 21, Promote},
		"one that was proven a minute ago is looked at":              {[]Held{current("A", 10), with(proven(pendingKey("B", 20)), func(k *Held) { k.Confirmed = at(20.9) })}, nil, 22, Look},
		"AWS is asked whether the successor works":                   {[]Held{a, b}, nil, 23, Probe},
		"the superseded key goes when AWS accepted it":               {[]Held{a, with(b, func(k *Held) { k.Probed = at(22.9) })}, nil, 23, Deactivate},
		"a deletion needs a look":                                    {[]Held{with(a, func(k *Held) { k.Deactivated = at(20) }), fresh}, nil, 24, Look},
		"so does a creation":                                         {[]Held{current("A", 10)}, nil, 20.1, Look},
		"so does a user without any key":                             {nil, nil, 20, Look},
		"so does an order":                                           {[]Held{a, with(b, func(k *Held) { k.Probed = at(22.9) })}, func(r *Record) { r.Order = &Order{Kind: Force} }, 23, Look},
		"so does whatever follows a failure":                         {[]Held{a, with(b, func(k *Held) { k.Probed = at(22.9) })}, func(r *Record) { r.Failures = 1 }, 23, Look},
		"so does a user with a foreign key":                          {[]Held{a, with(b, func(k *Held) { k.Probed = at(22.9) })}, func(r *Record) { r.Foreign = []string{"X"} }, 23, Look},
		"so does one with a call whose answer was lost":              {[]Held{a, with(b, func(k *Held) { k.Probed = at(22.9) })}, func(r *Record) { *r = r.intent(22) }, 23, Look},
		"so does a current key that AWS refuses":                     {[]Held{a, with(b, func(k *Held) { k.Broken = at(22.9) })}, nil, 23, Look},
		"so does a key from before keyrot":                           {[]Held{with(a, func(k *Held) { k.Stage = Retiring }), fresh}, nil, 21, Look},
		"nothing to do is a wait, which the first time needs a look": {[]Held{fresh}, nil, 21, Wait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := world()
			for _, k := range tc.keys {
				r.Keys, r.Slot, r.Served = append(r.Keys, k), latest(r.Slot, k.Slot), latest(r.Served, k.Promoted)
			}
			if tc.change != nil {
				tc.change(&r)
			}
			if got := Next(Unseen(r), Policy{OnInUse: Press}, at(tc.now)); got.Action != tc.want {
				t.Errorf("%s %s, want %s", got.Action, got.Reason, tc.want)
			}
		})
	}
}

func TestWhoseListItIs(t *testing.T) {
	t.Parallel()
	r := rec(current("A", 10))
	for name, tc := range map[string]struct {
		keys []Key
		want Action
	}{
		"a held key is listed, which no other user can have": {[]Key{active("A", 10)}, Create},
		"nothing is listed":                     {nil, Identify},
		"somebody's key is listed, and not his": {[]Key{active("X", -60)}, Identify},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := r.Clone()
			if tc.want == Identify {
				r.Keys, r.Foreign = nil, []string{"X"}[:len(tc.keys)]
			}
			if got := Next(World{Record: r, Keys: tc.keys}, Policy{}, at(20)); got.Action != tc.want {
				t.Errorf("%s %s, want %s", got.Action, got.Reason, tc.want)
			}
		})
	}
}
