package sim

import (
	"flag"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

var (
	seed  = flag.Uint64("sim.seed", 0, "replay this seed only")
	hours = flag.Int("sim.hours", 0, "simulate this many hours instead of the default")
	days  = flag.Int("sim.userdays", 0, "TestSoak: simulate this many user-days")
	fresh = flag.Bool("sim.fresh", false, "TestSoak: draw new seeds instead of the same ones each time")
	shard = flag.Int("sim.shard", 0, "TestSoak: which part of -sim.shards to run, from 0")
	parts = flag.Int("sim.shards", 1, "TestSoak: run only each so-manieth seed")
	until = flag.String("sim.until", "", "end the test at the first violation that matches this regular expression")
	debug = flag.Bool("sim.log", false, "write the rotators' log to standard error")
)

// everything is all faults at once.
var everything = Faults{
	Consistency: true, Errors: 0.01, Late: 0.002, Store: 0.005, Publish: 0.05, Crash: 40 * time.Minute,
	Outages: 24 * time.Hour, Storms: 6 * time.Hour, Copies: 6 * time.Hour,
}

func run(t *testing.T, c Config) (res Result) {
	t.Helper()
	if *seed != 0 {
		c.Seed = *seed
	}
	if *debug {
		c.Log = os.Stderr
	}
	found := false
	if *until != "" {
		says := regexp.MustCompile(*until)
		c.Until = func(v string) bool {
			found = found || says.MatchString(v)
			return found
		}
	}
	synctest.Test(t, func(t *testing.T) { res = Run(t.Context(), c) })
	t.Logf("seed %d: %d users for %s: %s", c.Seed, c.Users, c.For, res)
	shown := map[string]int{}
	for _, v := range res.Violations {
		rule := ruleOf(v)
		if shown[rule]++; shown[rule] <= 5 {
			t.Error(v)
		}
	}
	for rule, n := range shown {
		t.Logf("%d violations of %q", n, rule)
	}
	if len(res.Violations) > 0 {
		t.Logf("replay: go test ./internal/sim -run '^%s$' -sim.seed=%d", t.Name(), c.Seed)
	}
	if found {
		t.FailNow()
	}
	return res
}

// ruleOf returns the promise that a violation names.
func ruleOf(v string) string {
	for _, rule := range []string{"served works", "never zero", "ours only", "orphans die", "on time", "one hand", "on record", "no leak", "published", "burned"} {
		if strings.Contains(v, rule+":") {
			return rule
		}
	}
	return "others"
}

// span is how long a test simulates: d, or what the command line says. The
// race detector is ten times slower and finds in two hours what it finds at
// all; make test runs everything once more without it.
func span(d time.Duration) time.Duration {
	switch {
	case *hours != 0:
		return time.Duration(*hours) * time.Hour
	case raceEnabled:
		return min(d, 2*time.Hour)
	}
	return d
}

func TestCalmWorld(t *testing.T) {
	t.Parallel()
	length := span(24 * time.Hour)
	res := run(t, Config{Seed: 1, Users: 20, For: length})
	if want := 20 * 6 * int(length/time.Hour); res.Rotations < want*99/100 || res.Rotations > want*101/100+20 { // and each user's first
		t.Errorf("%d rotations of 20 users in %s, want about %d", res.Rotations, length, want)
	}
	if res.Late > 15*time.Second {
		t.Errorf("a promotion came %s after its slot in a calm world", res.Late)
	}
}

// TestOptionalTargetDelaysNothing has an optional publisher that fails, hangs
// and goes down, and nothing else that could make a promotion late.
func TestOptionalTargetDelaysNothing(t *testing.T) {
	t.Parallel()
	length := span(24 * time.Hour)
	res := run(t, Config{Seed: 6, Users: 40, For: length, Faults: Faults{Copies: 2 * time.Hour}})
	if res.Late > 15*time.Second {
		t.Errorf("a promotion came %s after its slot because of an optional publisher", res.Late)
	}
	if res.Rotations < 40*6*int(length/time.Hour)*99/100 {
		t.Errorf("only %d rotations", res.Rotations)
	}
}

// TestBurns has operators who burn keys, and a required publisher that fails
// half of the time: leaked keys die, users get others, and those are published.
func TestBurns(t *testing.T) {
	t.Parallel()
	length := span(48 * time.Hour)
	res := run(t, Config{Seed: 8, Users: 20, For: length, Faults: Faults{Consistency: true, Publish: 0.25, Burn: 10 * time.Minute}})
	if res.Burns < int(length/time.Hour)*4 {
		t.Errorf("only %d burns", res.Burns)
	}
	// The same with calls that are lost, of which some make a key, or throttled.
	res = run(t, Config{Seed: 8, Users: 20, For: length, Faults: Faults{Consistency: true, Errors: 0.02, Late: 0.005, Storms: time.Hour, Publish: 0.25, Burn: 10 * time.Minute}})
	if res.Burns < int(length/time.Hour)*4 {
		t.Errorf("only %d burns where calls are lost", res.Burns)
	}
}

// TestManyHands adds what only several rotators, other people and bad clocks
// can do.
func TestManyHands(t *testing.T) {
	t.Parallel()
	f := everything
	f.Foreign, f.Vanish, f.ClockSteps, f.Burn = 30*time.Minute, 12*time.Hour, time.Hour, 2*time.Hour
	for daemons := 2; daemons <= 5; daemons++ {
		run(t, Config{Seed: uint64(daemons), Users: 10, For: span(48 * time.Hour), Daemons: daemons, Faults: f})
	}
}

// TestOldLists has lists of IAM's that are older than everything keyrot reckons
// with: no key may be left behind, and nobody may be stuck, because of them.
func TestOldLists(t *testing.T) {
	t.Parallel()
	f := everything
	f.OldLists, f.Errors = 4*time.Minute, 0.03
	res := run(t, Config{Seed: 8, Users: 30, For: span(24 * time.Hour), Daemons: 2, Faults: f})
	if res.Rotations == 0 {
		t.Error("nobody was rotated")
	}
}

// TestKeysThatEndLate has many calls that take keys away time out and have their
// effect up to 20 s later, while operators burn keys: a key that is about to end
// must not be put back into service.
func TestKeysThatEndLate(t *testing.T) {
	t.Parallel()
	f := Faults{Consistency: true, Ending: 0.3, Burn: 4 * time.Minute, Crash: 2 * time.Hour}
	length := span(48 * time.Hour)
	res := run(t, Config{Seed: 9, Users: 30, For: length, Daemons: 2, Faults: f})
	if res.Burns < int(length/time.Hour)*10 {
		t.Errorf("only %d burns", res.Burns)
	}
}

// TestSoak runs the seeds that once found something and then others, until
// -sim.userdays are done: the same in every run, or new ones with -sim.fresh.
// Without -sim.userdays it runs the kept seeds, shortly.
func TestSoak(t *testing.T) {
	t.Parallel()
	kept, err := os.ReadFile("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for line := range strings.Lines(string(kept)) {
		line, _, _ = strings.Cut(line, "#")
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64); err == nil {
			seeds = append(seeds, n)
		}
	}
	const users = 25
	length := span(6 * time.Hour)
	runs := len(seeds)
	if *days > 0 {
		length = span(10 * 24 * time.Hour)
		runs = max(runs, *days/(users*10))
	}
	if *fresh {
		seeds, runs = nil, max(1, *days/(users*10)) // the kept ones are run often enough
	}
	if *seed != 0 {
		seeds, runs = []uint64{*seed}, 1
	}
	for next := uint64(1000); len(seeds) < runs; next++ {
		if *fresh {
			next = rand.Uint64() >> 1
		}
		seeds = append(seeds, next)
	}
	var mine []uint64
	for i, n := range seeds {
		if i%*parts == *shard {
			mine = append(mine, n)
		}
	}
	for _, n := range mine {
		t.Run(strconv.FormatUint(n, 10), func(t *testing.T) {
			t.Parallel()
			run(t, Config{Seed: n, Users: users, For: length, Daemons: 1 + int(n%5), Policy: policies[n/5%uint64(len(policies))], Faults: faultsOf(n)})
		})
	}
	t.Logf("%d runs of %d users for %s: %d user-days", len(mine), users, length, len(mine)*users*int(length/time.Hour)/24)
}

var policies = []plan.Policy{
	{},
	{RotateEvery: 10 * time.Minute, DeactivateAfter: 20 * time.Minute, DeleteAfter: 20 * time.Minute},
	{RotateEvery: 30 * time.Minute, DeactivateAfter: 40 * time.Minute, DeleteAfter: 55 * time.Minute},
	{RotateEvery: 6 * time.Hour, DeactivateAfter: 7 * time.Hour, DeleteAfter: 9 * time.Hour},
}

// faultsOf draws a mix of faults: some runs have all, most lack some, so that
// one kind of trouble does not always hide another.
func faultsOf(seed uint64) Faults {
	r := rand.New(rand.NewPCG(seed, 7))
	f := everything
	f.Foreign, f.Vanish, f.ClockSteps = 2*time.Hour, 5*24*time.Hour, time.Hour
	for _, off := range []func(){
		func() { f.Errors, f.Late = 0, 0 }, func() { f.Store = 0 }, func() { f.Crash = 0 }, func() { f.Outages = 0 },
		func() { f.Storms = 0 }, func() { f.Publish = 0 }, func() { f.Copies = 0 }, func() { f.Foreign = 0 }, func() { f.Vanish = 0 }, func() { f.ClockSteps = 0 },
	} {
		if r.IntN(3) == 0 {
			off()
		}
	}
	if rand.New(rand.NewPCG(seed, 8)).IntN(2) == 0 { // not in those that found something before there were burns
		f.Burn = time.Hour
	}
	return f
}

func TestWeekOfFaults(t *testing.T) {
	t.Parallel()
	length := span(7 * 24 * time.Hour)
	res := run(t, Config{Seed: 2, Users: 100, For: length, Faults: everything, Terse: true})
	if res.Rotations < 100*int(length/time.Hour)*5 {
		t.Errorf("only %d rotations", res.Rotations)
	}
}
