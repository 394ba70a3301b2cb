package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Call is an API call of IAM that changes something.
type Call string

// The calls that change something.
const (
	CreateAccessKey Call = "CreateAccessKey"
	UpdateAccessKey Call = "UpdateAccessKey"
	DeleteAccessKey Call = "DeleteAccessKey"
)

// Pace says when IAM may be asked to change something: AWS throttles such calls
// for each account. Implementations must be safe for concurrent use.
type Pace interface {
	// Wait returns when the call may be made. An error says that ctx ended
	// before: the call must not be made. It is not part of the call: a call's
	// deadline begins after it. For each call one caller waits at a time, the
	// one whose turn it is.
	Wait(ctx context.Context, call Call) error
}

const (
	crowd      = 1024            // passes at once: a bound on memory, most of them wait
	staleAfter = 5 * time.Second // what was seen before such a wait is looked at again
)

// gates are what the passes of this process wait at. What takes long for another
// reason than this machine's is waited for outside all of them.
type gates struct {
	begin *gate          // keys to be made whose turn has not come: the others are left in the store
	ready map[Call]*gate // those that wait for the pace of their call, which differs, or then for a slot
	turn  map[Call]*gate // one of them at a time waits for the pace
	slot  *gate          // calls in flight that change IAM
	reads *gate          // calls in flight that do not
}

func newGates(workers int) gates {
	g := gates{
		begin: &gate{size: 4 * workers}, turn: map[Call]*gate{}, ready: map[Call]*gate{},
		slot:  &gate{size: workers, spare: 1 + workers/8},
		reads: &gate{size: 8 * workers, spare: 2 * workers},
	}
	for _, c := range []Call{CreateAccessKey, UpdateAccessKey, DeleteAccessKey} {
		g.turn[c], g.ready[c] = &gate{size: 1}, &gate{size: 2 * workers, spare: 2 + workers/2}
	}
	return g
}

// callOf returns the call that an action makes, "" if it changes nothing in IAM.
func callOf(a plan.Action) Call {
	switch a {
	case plan.Create:
		return CreateAccessKey
	case plan.Deactivate, plan.Reactivate:
		return UpdateAccessKey
	case plan.Delete:
		return DeleteAccessKey
	}
	return ""
}

// errUnsent: the pass ended while it waited, and made no call. That says nothing
// about the step.
var errUnsent = errors.New("waiting")

// turn waits until the step's call may be made, if it makes one. It takes no
// slot. What was let through is kept for a step that comes in this one's place.
// again: it took long, and what the step rests on has to be looked at again, or
// something else comes first by now.
func (p *pass) turn(step plan.Step) (again bool, err error) {
	call := leadsTo(step)
	if call == "" || p.may == call {
		return false, nil
	}
	p.giveBack()
	began := p.now()
	ready := p.gates.ready[call].join(p.urgency)
	overtaken, stop := p.overtaken(call)
	if err = p.keeping(overtaken.bounds(ready.wait)); err == nil {
		err = p.paced(call, overtaken)
	}
	ended := overtaken.Err() != nil
	stop()
	if err != nil {
		ready.leave()
		if ended && p.ctx.Err() == nil {
			p.looked = true
			_, err = p.settle(step)
			return true, err
		}
		return false, err
	}
	p.may, p.ready = call, ready
	p.begun()
	if p.now().Sub(began) <= staleAfter || step.Action == plan.Look {
		return false, nil
	}
	p.looked = true
	return p.world.Unseen || p.observe() == nil, nil // otherwise the step itself will tell
}

// leadsTo returns the call that the step makes, or the one that a look goes before:
// it is to be fresh when the call is made.
func leadsTo(step plan.Step) Call {
	if step.Action == plan.Look {
		return callOf(step.Then)
	}
	return callOf(step.Action)
}

// bound ends when a wait has to.
type bound struct{ context.Context }

func (b bound) bounds(wait func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(b, cancel)()
		return wait(ctx)
	}
}

// overtaken ends once another step than one that leads to the call is next for
// the user: an operator has burned a key, or readers of a target are owed something.
func (p *pass) overtaken(call Call) (b bound, stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	w, policy, saved, later := p.world, p.policy, p.saved, slices.Clone(p.later)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(staleAfter)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if fresh, err := p.Store.Load(ctx, saved.Record.User); err == nil {
				saved = fresh
			}
			e := saved
			for _, noted := range later {
				noted(&e)
			}
			if w.Record = e.Record; leadsTo(plan.Next(w, policy, p.now())) != call {
				cancel()
				return
			}
		}
	})
	return bound{ctx}, func() { cancel(); wg.Wait() }
}

// crowded reports whether the step makes a key while many others wait to do so,
// and the pass did not begin with a place among them.
func (p *pass) crowded(step plan.Step) bool {
	return p.defers && (step.Action == plan.Create || step.Then == plan.Create) && p.rank == plan.RankCreate && p.may == "" &&
		p.gates.ready[CreateAccessKey].crowded(p.gates.begin.size)
}

// paced waits for the pace, once those that are more urgent have.
func (p *pass) paced(call Call, overtaken bound) error {
	first := p.gates.turn[call].join(p.urgency)
	defer first.leave()
	err := p.keeping(overtaken.bounds(first.wait))
	if err == nil && p.Pace != nil {
		err = p.keeping(overtaken.bounds(func(ctx context.Context) error { return p.Pace.Wait(ctx, call) }))
	}
	return err
}

// leadsOn reports whether the step makes a call that had its turn, or is a quick
// look before one that has.
func leadsOn(step plan.Step) bool {
	switch step.Action {
	case plan.Identify, plan.Inspect, plan.Survey, plan.Probe:
		return true
	}
	return callOf(step.Action) != ""
}

// giveBack gives back what was let through and not used, and the place of what
// was.
func (p *pass) giveBack() {
	if p.ready != nil {
		p.ready.leave()
	}
	p.may, p.ready = "", nil
}

// slot waits until one more call that changes IAM may be in flight.
func (p *pass) slot() (leave func(), err error) {
	at := p.gates.slot.join(p.urgency)
	if err := p.keeping(at.wait); err != nil {
		at.leave()
		return nil, err
	}
	return at.leave, nil
}

// change makes one call that changes IAM.
func (p *pass) change(call func(context.Context) error) error {
	leave, err := p.slot()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := p.effect()
	defer cancel()
	p.sent = p.now()
	return call(ctx)
}

// ask makes one call that changes nothing.
func (p *pass) ask(call func(context.Context) error) error {
	at := p.gates.reads.join(p.urgency)
	defer at.leave()
	if err := p.keeping(at.wait); err != nil {
		return err
	}
	ctx, cancel := p.effect()
	defer cancel()
	p.asked = mono()
	return call(ctx)
}

// keeping waits for as long as it takes, and keeps the lease meanwhile. wait is
// called again when the lease was extended.
func (p *pass) keeping(wait func(context.Context) error) error {
	for {
		ttl := p.leaseTime(p.report.User)
		left := ttl // of one that was given up nothing is to be kept
		if !p.leased.IsZero() {
			left = p.leased.Sub(p.now())
		}
		ctx, cancel := context.WithCancel(p.ctx)
		// Never 0: Go 1.26's race detector has crashed on a timer that a synctest bubble
		// fires at once (tsan's SlotLock, below runtime.(*timer).modify).
		t := time.AfterFunc(max(1, left-ttl/2), cancel)
		err := wait(ctx)
		woken := !t.Stop()
		cancel()
		switch {
		case err == nil:
			return nil
		case p.ctx.Err() != nil:
			return fmt.Errorf("%w: %w", errUnsent, p.ctx.Err())
		case !woken:
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
		if err = p.timely(); err == nil {
			err = p.lease(p.report.User)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
	}
}

// throttled reports whether the step's call was refused for its pace, which is
// certain to have changed nothing: it is tried again, when the pace lets it
// through. An operator's pass does so while there is patience.
func (p *pass) throttled(step plan.Step, err error) bool {
	return callOf(step.Action) != "" && errors.Is(err, ErrThrottled) && p.timely() == nil && (!p.private || p.now().Before(p.limit))
}

// longestPause bounds the pause after a refusal, beside what the pace makes of it.
const longestPause = 8 * time.Second

// standAside is the shortest pause of an operator's pass: a daemon that looks
// every second finds the user in it.
const standAside = 3 * time.Second

// retry pauses, longer after each refusal in this pass, before the step is tried
// again on what the store has by then.
func (p *pass) retry(step plan.Step, err error) error {
	p.Log.Debug("throttled; trying again", "user", p.report.User, "action", step.Action, "err", err)
	d := min(time.Second<<min(p.refusals, 6), longestPause)
	p.refusals++
	p.looked = true
	if p.private {
		return p.giveWay(max(d, standAside))
	}
	return p.sleep(d)
}

// giveWay pauses without the lease. It may be a daemon's other users that IAM is
// busy with: this process can only compete with their calls, while the daemon
// puts them behind what the operator waits for. If no daemon takes the lease, the
// next step does.
func (p *pass) giveWay(d time.Duration) error {
	if err := p.flush(); err != nil {
		return err
	}
	p.looked = true
	if p.Store.Release(p.ctx, p.report.User, p.Owner) == nil {
		p.leased, p.left = time.Time{}, true
	}
	return p.sleep(d)
}

// sleep returns after d, or with an error if the pass ended before.
func (p *pass) sleep(d time.Duration) error {
	t := time.NewTimer(max(d, time.Millisecond))
	defer t.Stop()
	return p.keeping(func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	})
}
