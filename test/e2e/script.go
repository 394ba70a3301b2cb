//go:build e2e && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// What may happen to the machine.
const (
	kill      = "kill"      // -9, and again soon
	killAll   = "kill-all"  // all daemons
	freeze    = "freeze"    // SIGSTOP, then SIGCONT
	full      = "full"      // the disk
	badSync   = "sync"      // fsync fails
	partition = "partition" // AWS does not answer
	mixed     = "mixed"     // all kinds of weather at once
	dates     = "date"      // AWS's clock is set
)

// Episode is one fault of a script.
type Episode struct {
	At     time.Duration // from the start
	For    time.Duration
	Kind   string
	Daemon int
	Share  float64 // of the calls of AWS
	Step   time.Duration
	Kinds  []string // of weather
}

func (e Episode) String() string {
	s := fmt.Sprintf("%6.1f s: %-10s for %4.1f s", e.At.Seconds(), e.Kind, e.For.Seconds())
	switch e.Kind {
	case kill, freeze, badSync:
		return s + fmt.Sprintf(", daemon %d", e.Daemon)
	case dates:
		return fmt.Sprintf("%6.1f s: %-10s %+.0f s from now on", e.At.Seconds(), e.Kind, e.Step.Seconds())
	case killAll, full, partition:
		return s
	}
	return s + fmt.Sprintf(", %2.0f %% of the calls", 100*e.Share)
}

// Script draws what happens in d: two tracks, one of AWS and one of the
// machine, so that two faults may come at a time. The last tenth is calm. The
// same seed makes the same script.
func Script(seed uint64, d time.Duration, daemons int, without []string) []Episode {
	leave := func(kinds ...string) []string {
		return slices.DeleteFunc(kinds, func(k string) bool { return slices.Contains(without, k) })
	}
	mix := leave(slices.Clone(weatherKinds)...)
	weather := append(leave(mixed, mixed, partition, dates), mix...)
	machine := leave(kill, kill, killAll, freeze, freeze, full, badSync)
	all := slices.Concat(track(seed, 2, d, daemons, weather), track(seed, 3, d, daemons, machine))
	for i := range all {
		if all[i].Kinds = []string{all[i].Kind}; all[i].Kind == mixed {
			all[i].Kinds = mix
		}
	}
	slices.SortStableFunc(all, func(a, b Episode) int { return int(a.At - b.At) })
	return all
}

// track draws one fault after the other, each kind once before one comes again.
func track(seed, stream uint64, d time.Duration, daemons int, kinds []string) (out []Episode) {
	r := rand.New(rand.NewPCG(seed, stream))
	between := func(a, b float64) time.Duration {
		return time.Duration((a + (b-a)*r.Float64()) * float64(time.Second)).Round(100 * time.Millisecond)
	}
	var left []string
	if len(kinds) == 0 {
		return nil
	}
	for at := between(3, 6); ; at += between(0.5, 2.5) {
		if len(left) == 0 {
			left = slices.Clone(kinds)
			r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		e := Episode{At: at, For: between(2, 8), Kind: left[0], Daemon: r.IntN(daemons), Share: 0.15 + 0.6*r.Float64(), Step: steps[r.IntN(len(steps))]}
		left = left[1:]
		switch e.Kind {
		case dates:
			e.For = 0
		case kill, killAll:
			e.For /= 4
		}
		if at += e.For; at > d*9/10 {
			return out
		}
		out = append(out, e)
	}
}

// skews are how AWS's clock may differ from the machine's at the start, and
// from that of a middlebox. steps are by how much it may be set in mid-run: not
// far back, or nothing would be due until the end.
var (
	skews = []time.Duration{0, 0, time.Minute, -time.Minute, 10 * time.Minute, -10 * time.Minute, 24 * time.Hour, -24 * time.Hour}
	steps = []time.Duration{-5 * time.Second, -15 * time.Second, time.Minute, 10 * time.Minute, 24 * time.Hour}
)

// short bounds what is counted: the last part of an error.
func short(err error) string {
	s, _, _ := strings.Cut(err.Error(), ", request ")
	if i := strings.LastIndex(s, ": "); i >= 0 && len(s)-i > 8 {
		s = s[i+2:]
	}
	return s[:min(len(s), 120)]
}
