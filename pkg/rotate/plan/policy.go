package plan

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// Policy is how one user's keys are rotated. The zero value of every optional
// field means the default that its comment names; [Policy.WithDefaults] fills
// them in.
type Policy struct {
	RotateEvery     time.Duration // R: a new key at every slot; default 10 min
	DeactivateAfter time.Duration // D: age at which a superseded key is made inactive; default 12 min
	DeleteAfter     time.Duration // X: age at which it is deleted; default 15 min

	// Phase shifts the slots within R, so that not all users rotate at once.
	// See [PhaseOf].
	Phase time.Duration

	Settle         time.Duration // wait between first proof and confirmation; negative: none; default 10 s
	VerifyDeadline time.Duration // a new key refused for this long is given up; default R within [30 s, 10 min]
	Lag            time.Duration // how long IAM's answers may contradict what it acknowledged; default R/10 within [15 s, 60 s]
	Skew           time.Duration // bound on the difference of IAM's clock and the planner's; default 5 s
	Grace          time.Duration // Expiration lies this long before the planned deactivation; default min(5 s, (D−R)/8)
	CallTimeout    time.Duration // bound on one mutating call; default R/4 within [2 s, 15 s]
	ProofSpan      time.Duration // from a proof's first call to its last; confirming begins so long before Settle ends; default 0
	ProofTTL       time.Duration // a confirmation older than this is repeated before promotion; default 5 min

	Outlets    []Outlet      // the publishers
	Recheck    time.Duration // outlets that compare are asked this often whether they hold the Current key; default 1 h
	Started    time.Time     // what they confirmed before is checked again; zero: nothing
	OnInUse    OnInUse       // what to do when callers still hold a key that is due; default warn
	MaxHold    time.Duration // with hold: bound on the wait; default 1 h
	RetireIdle time.Duration // a key retires once unused for this long; default 24 h
	Evidence   time.Duration // a burned key is kept inactive at least this long; default X−D
	Frozen     Reason        // no new rotation is started, for this reason; empty: not frozen
}

// minLag is the least that [Policy.Lag] is by default: how fast IAM is does not
// depend on the schedule. Others have measured 5 to 20 s.
const minLag = 15 * time.Second

// OnInUse says what happens when a key is due for deactivation while callers
// still hold it.
type OnInUse string

// The in-use rules.
const (
	Warn  OnInUse = "warn"  // deactivate, and say who still held it
	Hold  OnInUse = "hold"  // wait for them, at most MaxHold
	Press OnInUse = "force" // do not even ask
)

// Presets, by the names the configuration uses.
var presets = map[string][3]time.Duration{
	"default":    {10 * time.Minute, 12 * time.Minute, 15 * time.Minute},
	"two-active": {10 * time.Minute, 20 * time.Minute, 20 * time.Minute},
}

// Preset returns the policy of a named preset, "default" or "two-active", and
// whether there is one of that name.
func Preset(name string) (Policy, bool) {
	t, ok := presets[name]
	if !ok {
		return Policy{}, false
	}
	return Policy{RotateEvery: t[0], DeactivateAfter: t[1], DeleteAfter: t[2]}.WithDefaults(), true
}

// WithDefaults returns p with every zero field set to its default.
func (p Policy) WithDefaults() Policy {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if p.RotateEvery == 0 && p.DeactivateAfter == 0 && p.DeleteAfter == 0 {
		t := presets["default"]
		p.RotateEvery, p.DeactivateAfter, p.DeleteAfter = t[0], t[1], t[2]
	}
	def(&p.Settle, 10*time.Second)
	def(&p.VerifyDeadline, min(10*time.Minute, max(30*time.Second, p.RotateEvery)))
	def(&p.Lag, min(time.Minute, max(minLag, p.RotateEvery/10)))
	def(&p.Skew, 5*time.Second)
	def(&p.Grace, max(0, min(5*time.Second, (p.DeactivateAfter-p.RotateEvery)/8)))
	def(&p.CallTimeout, min(15*time.Second, max(2*time.Second, p.RotateEvery/4)))
	def(&p.ProofTTL, 5*time.Minute)
	def(&p.MaxHold, time.Hour)
	def(&p.RetireIdle, 24*time.Hour)
	def(&p.Recheck, time.Hour)
	if p.OnInUse == "" {
		p.OnInUse = Warn
	}
	return p
}

// Validate reports every inequality that the schedule breaks, joined; nil if
// the schedule can be kept. tick is how often the planner looks (1 s for the
// daemon, 60 s for Lambda).
//
// The conditions follow from IAM's two slots per user: at a creation at most
// one other key may exist, so the key of age 2R must be gone.
func (p Policy) Validate(tick time.Duration) error {
	r, d, x := p.RotateEvery, p.DeactivateAfter, p.DeleteAfter
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case r <= 0:
		fail("rotate_every > 0 fails: rotate_every is %s", r)
	case r < 2*time.Second:
		fail("rotate_every >= 2s fails: rotate_every is %s; IAM needs seconds to accept a new key", r)
	}
	if d <= r {
		fail("deactivate_after > rotate_every fails: %s <= %s; the old key would die before its successor is proven", d, r)
	}
	if x < d {
		fail("delete_after >= deactivate_after fails: %s < %s; an active key is never deleted", x, d)
	}
	if x > 2*r {
		fail("delete_after <= 2 x rotate_every fails: %s > %s; a third key would be needed and IAM allows two", x, 2*r)
	}
	if d > r {
		if need := max(p.Settle, 0) + tick + 2*p.Grace; d-r <= need {
			fail("deactivate_after - rotate_every > settle + tick + 2 x grace fails: %s <= %s; the overlap is too short to prove a new "+
				"key", d-r, need)
		}
	}
	if tick > 0 && r < 2*tick {
		fail("rotate_every >= 2 x tick fails: %s < %s; the scheduler does not look often enough", r, 2*tick)
	}
	return errors.Join(errs...)
}

// Overlap is how long both keys work around a rotation: D−R.
func (p Policy) Overlap() time.Duration { return p.DeactivateAfter - p.RotateEvery }

// Roll is how far ahead Expiration is set while a successor is late:
// 60 s, or the overlap if that is shorter.
func (p Policy) Roll() time.Duration { return min(time.Minute, p.Overlap()) }

// PhaseOf spreads users over the interval: a stable offset in [0, r) from the
// user's name.
func PhaseOf(user string, r time.Duration) time.Duration {
	if r <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(user))
	return time.Duration(h.Sum64() % uint64(r))
}

// NextSlot returns the due time of the creation after the one at last: the
// next instant that is congruent to Phase modulo R. If last is not on that
// grid (the first key of a user is made at once), the interval is shortened
// towards it, but never so far that the slots of two keys would be needed for
// a third.
func (p Policy) NextSlot(last time.Time) time.Time {
	r := int64(p.RotateEvery)
	if last.IsZero() || r <= 0 {
		return last
	}
	off := (last.UnixNano() - int64(p.Phase)) % r
	if off < 0 {
		off += r
	}
	toGrid := time.Duration(r - off) // in (0, R]
	// Two intervals in a row must outlast a key (X), or a third slot is needed.
	shortest := max(p.RotateEvery/2, p.DeleteAfter/2)
	switch {
	case toGrid >= shortest:
		return last.Add(toGrid)
	case shortest >= p.RotateEvery*19/20:
		return last.Add(p.RotateEvery) // no room to shift: keep the user's own grid
	default:
		return last.Add(shortest)
	}
}

// slotAt returns the slot that a key created at now counts from, when its
// creation was due at due: the newest slot not after now, unless that is so
// long ago that the key would live noticeably short.
func (p Policy) slotAt(due, now time.Time) time.Time {
	if due.IsZero() || now.Before(due) {
		return now
	}
	late := now.Sub(due) % p.RotateEvery
	if late <= p.RotateEvery/4 {
		return now.Add(-late)
	}
	return now
}

// fresh is how long ago AWS may have accepted the successor when the key before
// it goes. Lag is as long as a stack's minute between two passes: by that bound
// milliseconds would decide whether AWS is asked.
func (p Policy) fresh() time.Duration { return p.Lag / 2 }
