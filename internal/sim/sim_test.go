package sim

import (
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed  = flag.Uint64("sim.seed", 0, "replay this seed only")
	hours = flag.Int("sim.hours", 0, "simulate this many hours instead of the default")
	debug = flag.Bool("sim.log", false, "write the rotators' log to standard error")
)

// everything is all faults at once.
var everything = Faults{
	Consistency: true, Errors: 0.01, Late: 0.002, Store: 0.005, Crash: 40 * time.Minute,
	Outages: 24 * time.Hour, Storms: 6 * time.Hour,
}

func run(t *testing.T, c Config) (res Result) {
	t.Helper()
	if *seed != 0 {
		c.Seed = *seed
	}
	if *hours != 0 {
		c.For = time.Duration(*hours) * time.Hour
	}
	if *debug {
		c.Log = os.Stderr
	}
	synctest.Test(t, func(t *testing.T) { res = Run(t.Context(), c) })
	t.Logf("seed %d: %d users for %s: %s", c.Seed, c.Users, c.For, res)
	for i, v := range res.Violations {
		if i == 20 {
			t.Logf("… and %d more", len(res.Violations)-i)
			break
		}
		t.Error(v)
	}
	if len(res.Violations) > 0 {
		t.Logf("replay: go test ./internal/sim -run '^%s$' -sim.seed=%d", t.Name(), c.Seed)
	}
	return res
}

func TestCalmWorld(t *testing.T) {
	t.Parallel()
	res := run(t, Config{Seed: 1, Users: 20, For: 24 * time.Hour})
	if want := 20 * 24 * 6; res.Rotations < want*99/100 || res.Rotations > want*102/100 {
		t.Errorf("%d rotations in a day of 20 users, want about %d", res.Rotations, want)
	}
	if res.Late > 15*time.Second {
		t.Errorf("a promotion came %s after its slot in a calm world", res.Late)
	}
}

// TestManyHands adds what only several rotators, other people and bad clocks
// can do.
func TestManyHands(t *testing.T) {
	t.Parallel()
	f := everything
	f.Foreign, f.Vanish, f.ClockSteps = 30*time.Minute, 12*time.Hour, time.Hour
	for daemons := 2; daemons <= 5; daemons++ {
		run(t, Config{Seed: uint64(daemons), Users: 10, For: 48 * time.Hour, Daemons: daemons, Faults: f})
	}
}

func TestWeekOfFaults(t *testing.T) {
	t.Parallel()
	res := run(t, Config{Seed: 2, Users: 100, For: 7 * 24 * time.Hour, Faults: everything})
	if res.Rotations < 100*7*24*5 {
		t.Errorf("only %d rotations", res.Rotations)
	}
}
