package plan

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func minutes(r, d, x float64) Policy {
	m := func(f float64) time.Duration { return time.Duration(f * float64(time.Minute)) }
	return Policy{RotateEvery: m(r), DeactivateAfter: m(d), DeleteAfter: m(x)}.WithDefaults()
}

func TestValidateNamesTheInequality(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		p    Policy
		tick time.Duration
		want []string // parts of the error; none: feasible
	}{
		{"the default", minutes(10, 12, 15), time.Second, nil},
		{"the default with a tick of a minute", minutes(10, 12, 15), time.Minute, nil},
		{"two active", minutes(10, 20, 20), time.Second, nil},
		{"seconds", Policy{RotateEvery: 20 * time.Second, DeactivateAfter: 24 * time.Second, DeleteAfter: 30 * time.Second, Settle: -1}.WithDefaults(), time.Second, nil},
		{"months", minutes(90*1440, 97*1440, 120*1440), time.Second, nil},
		{"three keys would be needed", minutes(6, 12, 15), time.Second, []string{"delete_after <= 2 x rotate_every"}},
		{"no overlap", minutes(10, 10, 15), time.Second, []string{"deactivate_after > rotate_every"}},
		{"deleted before it is deactivated", minutes(10, 12, 11), time.Second, []string{"delete_after >= deactivate_after"}},
		{"an overlap shorter than the proof takes", minutes(10, 10.1, 15), time.Second, []string{"settle + tick"}},
		{"a tick too coarse", minutes(1, 1.9, 2), time.Minute, []string{"rotate_every >= 2 x tick", "settle + tick"}},
		{"everything at once", minutes(-1, -2, -3), time.Second, []string{"rotate_every > 0", "deactivate_after > rotate_every", "delete_after >= deactivate_after"}},
	}
	for _, tt := range tests {
		err := tt.p.Validate(tt.tick)
		if (err != nil) != (len(tt.want) > 0) {
			t.Errorf("%s: Validate() = %v, want an error: %v", tt.name, err, len(tt.want) > 0)
		}
		for _, w := range tt.want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s: Validate() = %q, want it to name %q", tt.name, err, w)
			}
		}
	}
}

func TestWithDefaultsIsIdempotent(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{{}, {Settle: -1}, minutes(10, 20, 20), {RotateEvery: 5 * time.Second, DeactivateAfter: 6 * time.Second, DeleteAfter: 7 * time.Second}} {
		once := p.WithDefaults()
		if twice := once.WithDefaults(); !reflect.DeepEqual(once, twice) {
			t.Errorf("WithDefaults() twice = %+v, want %+v", twice, once)
		}
	}
}

// TestSlotsNeedTwoKeys follows the slots of feasible schedules from every
// phase and checks that three keys never overlap, that the grid is reached,
// and that nothing drifts from it.
func TestSlotsNeedTwoKeys(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{minutes(10, 12, 15), minutes(10, 15, 20), minutes(10, 20, 20), minutes(10, 18, 19.5), minutes(15, 20, 25), minutes(60, 75, 90)} {
		for phase := time.Duration(0); phase < p.RotateEvery; phase += p.RotateEvery / 60 {
			p.Phase = phase
			slots := []time.Time{t0}
			for range 200 {
				slots = append(slots, p.NextSlot(slots[len(slots)-1]))
			}
			for i := 2; i < len(slots); i++ {
				if gone := slots[i-2].Add(p.DeleteAfter); slots[i].Before(gone) {
					t.Fatalf("%v phase %s: slot %d is %s before the key of slot %d is deleted", p.RotateEvery, phase, i, gone.Sub(slots[i]), i-2)
				}
				if gap := slots[i].Sub(slots[i-1]); gap > p.RotateEvery {
					t.Fatalf("%v phase %s: %s between two slots", p.RotateEvery, phase, gap)
				}
			}
			if got := slots[200].Sub(slots[199]); got != p.RotateEvery {
				t.Errorf("%v phase %s: the interval is still %s after 200 slots", p.RotateEvery, phase, got)
			}
			if off := (slots[200].UnixNano() - int64(phase)) % int64(p.RotateEvery); off != 0 && p.DeleteAfter < p.RotateEvery*19/10 {
				t.Errorf("%v phase %s: still %s off the grid", p.RotateEvery, phase, time.Duration(off))
			}
		}
	}
}

func TestPhaseSpreadsUsers(t *testing.T) {
	t.Parallel()
	const users, bins = 5000, 10
	var n [bins]int
	for i := range users {
		ph := PhaseOf(fmt.Sprintf("app-%d", i), 10*time.Minute)
		n[ph*bins/(10*time.Minute)]++
	}
	for i, c := range n {
		if c < users/bins*8/10 || c > users/bins*12/10 {
			t.Errorf("bin %d has %d of %d users, want about a tenth", i, c, users)
		}
	}
	if a, b := PhaseOf("ci", time.Hour), PhaseOf("ci", time.Hour); a != b {
		t.Errorf("PhaseOf is not stable: %s, %s", a, b)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	broken := with(current("A", 0), func(k *Held) { k.Broken = at(3) })
	tests := []struct {
		name    string
		rec     Record
		now     time.Time
		ok      bool
		expires time.Time
		roll    bool
	}{
		{"the schedule's promise if it is longer now", rec(with(current("A", 0), func(k *Held) { k.Promise = at(2) })), at(1), true, at(12 - 5*s), true},
		{"an older promise that is longer", rec(with(current("A", 0), func(k *Held) { k.Promise = at(60) })), at(1), true, at(60), false},
		{"whole seconds of a promise", rec(with(current("A", 0), func(k *Held) { k.Promise = at(60).Add(999 * time.Millisecond) })), at(1), true, at(60), false},
		{"nothing that passes in less than a second", rec(with(current("A", 0), func(k *Held) { k.Promise = at(60).Add(999 * time.Millisecond) })), at(60).Add(-999 * time.Millisecond), true, at(61), true},
		{"the current key with the promise of its promotion", rec(current("A", 0)), at(5), true, at(12 - 5*s), false},
		{"nothing while the first key is pending", rec(pendingKey("A", 0)), at(1), false, time.Time{}, false},
		{"nothing when AWS refuses the key", rec(broken), at(5), false, time.Time{}, false},
		{"the successor, once promoted", rec(previous("A", 0), current("B", 10)), at(10.5), true, at(22 - 5*s), false},
		{"short before the end the promise rolls", rec(current("A", 0)), at(11.6), true, at(12.6), true},
		{"not yet when much is left", rec(current("A", 0)), at(11), true, at(12 - 5*s), false},
		{"long overdue it still rolls", rec(current("A", 0)), at(100), true, at(101), true},
	}
	for _, tt := range tests {
		o, ok := Serve(tt.rec, Policy{}, tt.now)
		if ok != tt.ok || !o.Expiration.Equal(tt.expires) || o.Roll != tt.roll {
			t.Errorf("%s: Serve() = until %s, roll %v, %v; want until %s, roll %v, %v", tt.name, o.Expiration, o.Roll, ok, tt.expires, tt.roll, tt.ok)
		}
	}
}

func TestARolledPromiseIsKept(t *testing.T) {
	t.Parallel()
	r := rec(current("A", 0))
	o, _ := Serve(r, Policy{}, at(15))
	r = r.Promised(o)
	r.Keys[0].Stage = Previous
	r.Keys = append(r.Keys, checked("B", 14, 16))
	w := World{Record: r, Keys: []Key{surveyed(active("A", 0)), active("B", 14)}}
	if got := Next(w, Policy{}, at(15.9)); got.Action != Wait {
		t.Errorf("Next() inside the rolled promise = %s, want wait", got.Action)
	}
	if got := Next(w, Policy{}, at(16.2)); got.Action != Deactivate {
		t.Errorf("Next() after the rolled promise = %s (%s), want deactivate", got.Action, got.Reason)
	}
}

func TestOverdue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		now  float64
		want bool
	}{{5, false}, {10.9, false}, {11.1, true}} {
		if _, got := Overdue(rec(current("A", 0)), Policy{}, at(tt.now)); got != tt.want {
			t.Errorf("Overdue() at minute %v = %v, want %v", tt.now, got, tt.want)
		}
	}
	if _, got := Overdue(rec(), Policy{}, at(0)); !got {
		t.Error("a user enrolled long ago that never got a key is not overdue")
	}
}
