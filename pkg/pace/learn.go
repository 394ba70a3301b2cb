package pace

import (
	"math"
	"slices"
	"time"
)

// phase is what a learner does while nothing is refused.
type phase int

const (
	free   phase = iota // nothing was refused yet
	refine              // the limit is near: the rate grows slowly until it is met again
	hold                // the limit is known: the rate stays just below it and is tested seldom
)

// How a learner finds a limit. In the long run less than one call in a hundred
// is refused, and none but in a test of the limit.
const (
	growth      = 1.03            // refine: growth of the rate in a second
	doubling    = 3 * time.Second // refine: the time in which it doubles, far below what was accepted before
	calm        = 3 * time.Second // refine: what must pass without a refusal before it grows
	share       = 0.95            // of what was accepted at the limit, the rate that is held
	changed     = 0.75            // hold: of the limit that was found; a rate below says that it is another one now
	window      = 3 * time.Second // over which what is accepted is measured, if that is enough calls
	enough      = 20              // calls to measure by
	firstProbe  = time.Minute     // hold: the time at full use before the rate is tested, if that is enough calls
	perProbe    = 400             // calls: a test costs about two refusals
	longestRest = time.Hour
	nextProbe   = 15 * time.Second // after a test that went well
	firstStep   = 0.05             // of the rate: how far the first test goes
	longestStep = 0.4
	slowest     = 0.2 // calls per second, below which no refusal takes the rate
)

// learner finds the rate that AWS accepts for one action. It decides by what it
// is told and has no clock of its own. The zero value is not ready for use.
type learner struct {
	rate float64 // calls per second, now
	most float64 // calls per second, never exceeded
	knee float64 // refine: below it the rate doubles, too: so much was accepted before everything was refused
	phase

	grown time.Time     // when the rate was last brought up to date
	cut   time.Time     // when the latest refusal was noted
	grew  bool          // refine: since then
	taken int           // calls accepted since then
	quiet time.Duration // hold: at full use since the rate was set
	rest  time.Duration // hold: until the next test
	step  float64       // hold: size of the next test
	safe  float64       // hold: the rate before the test; zero: none is under way
	found float64       // hold: the rate as it was found
	sure  bool          // hold: AWS's bucket did not help to find it

	accepted []time.Time // not older than the measure
	refused  []time.Time
}

func newLearner(most float64) learner { return learner{rate: most, most: most, knee: most} }

// settled returns a learner that knows the limit already.
func settled(rate, most float64) learner {
	l := learner{most: most, knee: min(rate, most)}
	l.hold(min(rate, most), firstProbe)
	l.sure = true // or as good as it gets: it was written down so
	return l
}

// accept notes a call that AWS took. busy: calls wait, so that the rate is what
// limits them; otherwise nothing is learnt about it.
func (l *learner) accept(now time.Time, busy bool) {
	l.accepted = append(l.accepted, now)
	l.taken++
	l.forget(now)
	since := now.Sub(l.grown)
	l.grown = now
	if !busy || l.phase == free {
		return
	}
	since = max(0, min(since, time.Second+time.Duration(float64(time.Second)/l.rate)))
	switch l.phase {
	case refine:
		switch {
		case now.Sub(l.cut) < calm:
		case l.rate < share*l.knee:
			l.rate = min(l.knee, l.rate*math.Exp2(since.Seconds()/doubling.Seconds()))
		default:
			l.rate, l.grew = l.rate*math.Pow(growth, since.Seconds()), true
		}
	case hold:
		if l.quiet += since; l.quiet >= l.rest && l.rate < l.most {
			l.quiet, l.rest = 0, nextProbe
			l.safe, l.sure = l.rate, true
			l.rate *= 1 + l.step
			l.step = min(2*l.step, longestStep)
		}
	}
	l.rate = min(l.rate, l.most)
}

// refuse notes a call, sent at sent, that AWS throttled. Calls that were under
// way when the rate was cut do not cut it again.
func (l *learner) refuse(sent, now time.Time) {
	l.refused = append(l.refused, now)
	l.forget(now)
	if sent.Before(l.cut) {
		return
	}
	grew, exact := l.grew, l.exact(now)
	l.cut, l.grown, l.grew, l.taken = now, now, false, 0
	if l.phase == hold && l.safe > 0 {
		l.hold(l.safe, min(2*max(l.rest, firstProbe), longestRest))
		l.sure = true
		return
	}
	if exact > 0 {
		l.hold(exact, firstProbe)
		l.sure = true
		return
	}
	l.rate = max(slowest, l.slower(now))
	switch {
	case l.phase == refine && grew:
		l.hold(l.rate, firstProbe)
	case l.phase == hold && l.rate >= changed*l.found:
		l.quiet = 0
	default:
		l.phase, l.safe = refine, 0
	}
}

func (l *learner) hold(rate float64, rest time.Duration) {
	l.phase, l.rate, l.found, l.safe, l.sure, l.quiet, l.step = hold, rate, rate, 0, false, 0, firstStep
	l.rest = max(rest, time.Duration(perProbe/rate*float64(time.Second)))
}

// exact returns the rate to hold if a rate that was held since the last refusal,
// at full use, is refused: AWS's bucket was empty then and is now, and could not
// fill in between, so that all that was accepted is what came in. Zero: unknown.
func (l *learner) exact(now time.Time) float64 {
	past := now.Sub(l.cut)
	if l.phase != hold || l.safe > 0 || l.taken < enough || float64(l.quiet) < 0.9*float64(past) {
		return 0
	}
	return max(changed*l.rate, min(share*float64(l.taken)/past.Seconds(), share*l.rate))
}

// slower returns the rate after a refusal: a little less than what was accepted
// of late, which is the limit once AWS's bucket is empty. It is empty at every
// refusal, so that the time from one to another is the best measure. The less
// is known, the less of it is believed; if nothing was accepted, half.
func (l *learner) slower(now time.Time) (rate float64) {
	from := now.Add(-l.measure())
	if len(l.refused) > 1 && l.refused[0].After(from) {
		from = l.refused[0]
	}
	n := 0
	for _, t := range l.accepted {
		if t.After(from) {
			n++
		}
	}
	if n == 0 { // AWS may be taking nothing at all, which says nothing about the limit
		return l.rate / 2
	}
	defer func() { l.knee = rate }()
	least := 0.8 * l.rate
	if n >= enough/4 {
		least = l.rate / 2
	}
	return max(least, min(share*float64(n)/now.Sub(from).Seconds(), share*l.rate))
}

// measure is the time over which what is accepted is counted.
func (l *learner) measure() time.Duration {
	if l.phase == free {
		return time.Second
	}
	return min(time.Minute, max(window, time.Duration(enough/l.rate*float64(time.Second))))
}

func (l *learner) forget(now time.Time) {
	old := now.Add(-l.measure())
	past := func(t time.Time) bool { return !t.After(old) }
	if i := slices.IndexFunc(l.accepted, func(t time.Time) bool { return !past(t) }); i > 64 || i < 0 {
		l.accepted = slices.DeleteFunc(l.accepted, past)
	}
	l.refused = slices.DeleteFunc(l.refused, past)
}
