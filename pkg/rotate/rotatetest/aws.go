package rotatetest

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// AWS is an in-memory IAM and STS with the behaviour that makes rotation
// hard: answers lag, replies get lost, calls are throttled, services go down.
// It implements [rotate.IAM]. The zero value is a perfect AWS.
//
// It opens no socket, starts no goroutine and sets no timer, so it can be used
// inside a testing/synctest bubble. All its chances follow from Seed, the call,
// the instant, and the call's ordinal within that instant: a simulation can be
// replayed although its goroutines interleave differently.
//
// The fields may be set until the first call, all but the functions also later
// through Change. The methods are safe for concurrent use.
type AWS struct {
	Now  func() time.Time // nil: time.Now, which is virtual in a bubble
	Seed uint64
	Skew time.Duration // AWS's clock minus Now; shows in CreateDate

	// How long a change goes unnoticed. See [Delay].
	NewKey Delay // created and reactivated keys are refused
	OldKey Delay // deactivated and deleted keys keep working
	List   Delay // ListAccessKeys shows what was before
	Quota  Delay // the quota counts what was before, in both directions
	Usage  Delay // GetAccessKeyLastUsed shows what was before; Flap is not used

	// Latency of every call, half of it before the effect and half after; a
	// caller that gives up in the second half has lost the reply. Sleep waits;
	// nil: no latency.
	Latency Delay
	Sleep   func(ctx context.Context, d time.Duration) error

	// Chances in [0, 1] of every call.
	Errors float64 // it fails and has no effect
	Lost   float64 // it takes effect and fails
	Late   float64 // the caller times out and it takes effect LateBy later; changes only
	Ending float64 // as Late, for what takes keys away: UpdateAccessKey and DeleteAccessKey
	LateBy Delay   // Flap is not used

	Throttle Bucket  // one per operation, IAM only
	Spells   []Spell // periods of trouble

	// Fault decides the fate of single calls before chance does. It is called
	// without locks held. nil: None.
	Fault func(op Op, user, keyID string) Fault
	// Log is told of every call when it is over, without locks held.
	Log func(Call)

	mu      sync.Mutex
	users   map[string]*user // by name
	keys    map[string]*key  // by id
	rolls   map[string]roll
	buckets map[Op]*bucket
	calls   map[Op]int
	late    []lateEffect
}

var _ rotate.IAM = (*AWS)(nil)

// Op is the name of an AWS operation.
type Op string

// The operations that package rotate uses.
const (
	GetUser        Op = "GetUser"
	ListKeys       Op = "ListAccessKeys"
	KeyLastUsed    Op = "GetAccessKeyLastUsed"
	CreateKey      Op = "CreateAccessKey"
	UpdateKey      Op = "UpdateAccessKey"
	DeleteKey      Op = "DeleteAccessKey"
	CallerIdentity Op = "GetCallerIdentity" // STS; all others are IAM
)

// Delay says how a change spreads: nobody sees it for a time drawn from
// [Min, Max]; then, for up to Flap, some calls see it and some do not; then
// everybody does. Zero: at once.
type Delay struct{ Min, Max, Flap time.Duration }

func (d Delay) draw(r *rand.Rand) time.Duration {
	if d.Max <= d.Min {
		return d.Min
	}
	return d.Min + time.Duration(r.Int64N(int64(d.Max-d.Min)+1))
}

func (d Delay) window(r *rand.Rand, at time.Time) window {
	w := window{first: at.Add(d.draw(r))}
	w.settled = w.first
	if d.Flap > 0 {
		w.settled = w.first.Add(time.Duration(r.Int64N(int64(d.Flap) + 1)))
	}
	return w
}

// Fault is the fate of one call.
type Fault int

// The fates.
const (
	None   Fault = iota // chance decides
	Before              // fails, no effect
	After               // takes effect, then fails
)

// Errors of this AWS. Callers must take both to mean "unknown".
var (
	ErrConnection = errors.New("connection reset by peer")
	ErrDown       = errors.New("service unavailable")
	// ErrDeleteConflict is returned by DeleteUser.
	ErrDeleteConflict = errors.New("user still has access keys")
)

// Spell is a period of trouble: [From, To).
type Spell struct {
	From, To time.Time
	IAM, STS bool    // which services it strikes
	Err      error   // what calls get; nil: ErrDown. ErrThrottled makes a throttling storm
	Chance   float64 // how many calls it strikes; 0: all
}

// Bucket is a token bucket. The zero value never throttles.
type Bucket struct {
	PerSecond float64
	Burst     float64
}

// Call is one call as it went.
type Call struct {
	At     time.Time // when it arrived
	Op     Op
	User   string
	KeyID  string
	Effect bool // whether it was carried out, be it in vain
	Err    error
}

type roll struct {
	at time.Time
	n  uint64
}

type bucket struct {
	tokens float64
	at     time.Time
}

type lateEffect struct {
	at     time.Time
	effect func(now time.Time)
}

// Change calls f, which may set fields that are not functions, while no call
// is being decided.
func (a *AWS) Change(f func(*AWS)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *AWS) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now() //nolint:forbidigo // the default of the field
}

// lock locks a, lets late effects that are due happen, and returns the time.
func (a *AWS) lock() time.Time {
	a.mu.Lock()
	if a.users == nil {
		a.users = map[string]*user{}
		a.keys = map[string]*key{}
		a.rolls = map[string]roll{}
		a.buckets = map[Op]*bucket{}
		a.calls = map[Op]int{}
	}
	now := a.now()
	for {
		next := -1
		for i, l := range a.late {
			if !l.at.After(now) && (next < 0 || l.at.Before(a.late[next].at)) {
				next = i
			}
		}
		if next < 0 {
			return now
		}
		l := a.late[next]
		a.late = append(a.late[:next], a.late[next+1:]...)
		l.effect(l.at)
	}
}

// dice returns randomness for one decision within scope. mu must be held.
func (a *AWS) dice(scope string, now time.Time) *rand.Rand {
	last := a.rolls[scope]
	if !last.at.Equal(now) {
		last = roll{at: now}
	}
	last.n++
	a.rolls[scope] = last
	h := fnv.New64a()
	_, _ = h.Write([]byte(scope))
	d := &die{}
	d.pcg.Seed(a.Seed^h.Sum64(), uint64(now.UnixNano())+last.n<<48)
	d.Rand = *rand.New(&d.pcg)
	return &d.Rand
}

// die is a generator and its state in one piece.
type die struct {
	rand.Rand
	pcg rand.PCG
}

// call runs effect as the operation op, with all that may go wrong. effect is
// called with mu held, at most once.
func (a *AWS) call(ctx context.Context, op Op, user, keyID string, effect func(now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fault := None
	if a.Fault != nil {
		fault = a.Fault(op, user, keyID)
	}
	at := a.lock()
	a.calls[op]++
	r := a.dice(string(op)+" "+user+keyID, at)
	latency := a.Latency.draw(r)
	fate := a.fate(op, fault, r, at)
	a.mu.Unlock()

	done, err := a.carryOut(ctx, op, fate, latency, effect)
	if a.Log != nil {
		a.Log(Call{At: at, Op: op, User: user, KeyID: keyID, Effect: done, Err: err})
	}
	return err
}

// fate is what call has decided on arrival.
type fate struct {
	err    error         // what the caller gets; nil: the answer
	effect bool          // whether the call takes effect
	late   time.Duration // how long after the caller was told that it failed
}

func (a *AWS) fate(op Op, f Fault, r *rand.Rand, now time.Time) fate {
	switch f {
	case None:
	case Before:
		return fate{err: ErrConnection}
	case After:
		return fate{err: ErrConnection, effect: true}
	}
	for _, s := range a.Spells {
		hit := op == CallerIdentity && s.STS || op != CallerIdentity && s.IAM
		if !hit || now.Before(s.From) || !now.Before(s.To) || s.Chance > 0 && r.Float64() >= s.Chance {
			continue
		}
		if s.Err == nil {
			return fate{err: ErrDown}
		}
		return fate{err: s.Err}
	}
	if op != CallerIdentity && !a.take(op, now) {
		return fate{err: rotate.ErrThrottled}
	}
	late := 0.0
	switch op {
	case UpdateKey, DeleteKey:
		late = a.Late + a.Ending
	case CreateKey:
		late = a.Late
	}
	switch x := r.Float64(); {
	case x < a.Errors:
		return fate{err: ErrConnection}
	case x < a.Errors+a.Lost:
		return fate{err: ErrConnection, effect: true}
	case x < a.Errors+a.Lost+late:
		return fate{err: context.DeadlineExceeded, effect: true, late: max(1, a.LateBy.draw(r))}
	}
	return fate{effect: true}
}

// take takes a token of op's bucket and reports whether there was one.
func (a *AWS) take(op Op, now time.Time) bool {
	if a.Throttle.PerSecond <= 0 {
		return true
	}
	burst := max(1, a.Throttle.Burst)
	b := a.buckets[op]
	if b == nil {
		b = &bucket{tokens: burst, at: now}
		a.buckets[op] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*a.Throttle.PerSecond)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// carryOut lets fate have its way and reports whether the call took effect by
// the time it returned.
func (a *AWS) carryOut(ctx context.Context, op Op, f fate, latency time.Duration, effect func(time.Time) error) (bool, error) {
	if err := a.sleep(ctx, latency/2); err != nil {
		return false, err
	}
	if !f.effect {
		return false, f.err
	}
	now := a.lock()
	if f.late > 0 {
		a.late = append(a.late, lateEffect{now.Add(f.late), func(at time.Time) { _ = effect(at) }})
		a.mu.Unlock()
		return false, f.err
	}
	err := effect(now)
	a.mu.Unlock()
	if lost := a.sleep(ctx, latency-latency/2); lost != nil {
		return true, lost
	}
	if f.err != nil {
		return true, f.err
	}
	return true, err
}

func (a *AWS) sleep(ctx context.Context, d time.Duration) error {
	if a.Sleep != nil && d > 0 {
		return a.Sleep(ctx, d)
	}
	return ctx.Err()
}

// Calls returns how often op was called.
func (a *AWS) Calls(op Op) int {
	a.lock()
	defer a.mu.Unlock()
	return a.calls[op]
}

// statusGone is the status of a key that does not exist (any more).
const statusGone plan.Status = ""
