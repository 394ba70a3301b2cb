package rotate

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// ErrTargetDown means that a publisher fails for everybody: the failure says
// nothing about the user.
var ErrTargetDown = errors.New("the publisher fails for all users")

const (
	outletSlots = 16              // users that one publisher is asked for at once
	retrySlots  = outletSlots / 2 // of them, those that can wait
	queueTime   = 2 * time.Second // how long a key on its way waits for a slot

	downAfter  = 5                // users that it began to fail for in a row
	firstProbe = 10 * time.Second // after that, before it is tried again; it doubles
	lastProbe  = 30 * time.Second // up to this
	silence    = 5 * time.Minute  // if it works for nobody for so long, users that it failed for before count again
	probeTime  = 15 * time.Second // what the others leave to the user that tries it; they then come within as long again
)

// outlet stands in front of one publisher. It bounds how many it is asked for at
// once: one that hangs takes nothing from the others, and users that it hangs for
// leave slots to the rest. Keys on their way queue for it shortly; the others, and
// those for which that was in vain, are put off.
//
// It also is its circuit. One that began to fail for several users in a row is
// down: users that it failed for are put off, all but one at a time, after a
// pause that doubles. The others still have their first call, so that one that
// fails for some users only stays open to those that it works for. A success
// ends that. Pauses are measured by the monotonic clock.
type outlet struct {
	slots   gate // creations in it are those that can wait
	mu      sync.Mutex
	failing map[string]int  // users that it failed for the last time, with works when they were counted
	row     int             // users counted since it last worked for anybody
	works   int             // how often it worked
	worked  time.Time       // when it last did
	pause   time.Duration   // zero: it is not down
	next    time.Time       // no probe before
	probing bool            // a user is trying it
	tried   map[string]bool // users that had their turn
	prober  string          // the user whose turn is next
	told    bool            // whether it is down was told
}

// visitor is a user for whom a publisher is asked.
type visitor struct {
	urgency
	user   string
	again  bool // it failed for the user before
	urgent bool // its target may hold a leaked key: that does not wait for a probe's turn
}

// verdict is what a call of a publisher says about it.
type verdict int

const (
	noVerdict verdict = iota // it was not asked, or not for long enough
	works
	fails
)

// change is what a call changed about a publisher.
type change int

const (
	unchanged change = iota
	wentDown
	cameBack
)

// enter takes a slot, for which stay waits. Otherwise the visitor comes again
// after wait; zero: as always when a publisher is busy.
func (o *outlet) enter(v visitor, stay func(*place) error) (leave func(verdict) change, wait time.Duration, entered bool) {
	if wait, open := o.open(v); !open {
		return nil, wait, false
	}
	at := o.slots.join(v.urgency)
	if stay(at) != nil {
		at.leave()
		return nil, 0, false
	}
	probe, wait, entered := o.begin(v)
	if !entered { // it went down meanwhile
		at.leave()
		return nil, wait, false
	}
	return func(s verdict) change {
		at.leave()
		o.mu.Lock()
		defer o.mu.Unlock()
		if probe {
			o.probing = false
		}
		return o.judge(v.user, s, probe)
	}, 0, true
}

// begin lets a visitor that has a slot in, if the circuit does; the one that
// tries a publisher that is down as such.
func (o *outlet) begin(v visitor) (probe bool, wait time.Duration, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wait, open = o.opens(v); !open {
		return false, wait, false
	}
	probe = o.pause > 0 && v.again && !v.urgent
	if probe {
		if o.tried[v.user] { // all others had their turn, or do not come
			clear(o.tried)
		}
		o.probing, o.prober, o.tried[v.user] = true, "", true
	}
	return probe, 0, true
}

// open reports whether the circuit lets the visitor in now, and otherwise how
// long it has to wait.
func (o *outlet) open(v visitor) (wait time.Duration, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opens(v)
}

func (o *outlet) opens(v visitor) (wait time.Duration, open bool) {
	left := o.next.Sub(mono())
	switch {
	case o.pause == 0, !v.again, v.urgent:
		return 0, true
	case o.probing:
		left = 0
	case left <= 0:
		return 0, true
	case o.prober == "" && !o.tried[v.user]:
		o.prober = v.user
	}
	if o.prober == v.user {
		return left, false
	}
	// Not all at once: each costs a look at its keys, and their proof.
	return left + probeTime + plan.PhaseOf(v.user, probeTime), false
}

// judge takes the result of a call into account. One that fails for a user as
// before says nothing about the others.
func (o *outlet) judge(user string, s verdict, probe bool) change {
	switch s {
	case works:
		news := o.pause > 0 || !o.told // of a process before this one nothing is known
		delete(o.failing, user)
		o.works, o.worked = o.works+1, mono()
		o.row, o.pause, o.tried, o.prober, o.told = 0, 0, nil, "", true
		if news {
			return cameBack
		}
	case fails:
		if o.failing == nil {
			o.failing = map[string]int{}
		}
		counted, before := o.failing[user]
		if !before || counted != o.works && mono().Sub(o.worked) > silence {
			o.failing[user] = o.works
			o.row++
		}
		if o.pause == 0 && o.row >= downAfter {
			o.pause, o.tried, o.told = firstProbe, map[string]bool{}, true
			o.next = mono().Add(o.pause)
			return wentDown
		}
		if probe && o.pause > 0 {
			o.pause = min(2*o.pause, lastProbe)
			o.next = mono().Add(o.pause)
		}
	}
	return unchanged
}

func (o *outlet) down() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pause > 0
}

func (r *Rotator) outlet(name string) *outlet {
	v, _ := r.outlets.LoadOrStore(name, &outlet{slots: gate{size: retrySlots, spare: outletSlots - retrySlots}})
	return v.(*outlet)
}

// Down returns the names of the publishers that fail for all users, sorted.
func (r *Rotator) Down() (names []string) {
	r.outlets.Range(func(name, o any) bool {
		if o.(*outlet).down() {
			names = append(names, name.(string))
		}
		return true
	})
	slices.Sort(names)
	return names
}

// changed tells what a call changed about a publisher, once for all users.
func (p *pass) changed(c change, name string, cause error) {
	switch c {
	case unchanged:
		return
	case wentDown:
		p.Log.Warn("a publisher fails for all users; one at a time tries it", "publisher", name, "err", cause)
	case cameBack:
		p.Log.Info("a publisher works", "publisher", name)
	}
	if p.Target != nil {
		p.Target(name, cause)
	}
}

// covers reports whether the publisher's target concerns the user.
func covers(pub Publisher, user string) bool {
	c := pub.Traits().Covers
	return c == nil || c(user)
}

// visitor is the pass's user before a publisher, for which the step's key is.
func (p *pass) visitor(step plan.Step, pub Publisher) visitor {
	r := p.entry.Record
	t := r.Target(pub.Name())
	v := visitor{urgency: p.urgency, user: r.User, again: t != nil && t.Tries > 0}
	// After a start all targets are checked at once, and no key waits for that.
	if v.again || step.Reason == plan.Recheck && r.In(plan.Pending) == nil {
		v.rank = plan.RankCreate
	}
	if t == nil || t.KeyID != step.KeyID {
		v.urgent = slices.ContainsFunc(r.Keys, func(k plan.Held) bool { return !k.Burned.IsZero() })
	}
	return v
}
