// Package pace decides how fast IAM may be asked to change something. AWS
// throttles such calls for each account and action, at rates that it does not
// publish: they are learnt from what it refuses, and remembered in the store.
//
// It must not know the SDK, nor what is rotated when.
package pace

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// The defaults of a Budget: what public evidence supports (docs/adr/0023).
const (
	DefaultRate  = 10 // calls per second of one action
	DefaultBurst = 5
)

// The calls that change nothing and have a budget.
const (
	ListAccessKeys       rotate.Call = "ListAccessKeys"
	GetUser              rotate.Call = "GetUser"
	GetAccessKeyLastUsed rotate.Call = "GetAccessKeyLastUsed"
)

var (
	changes = []rotate.Call{rotate.CreateAccessKey, rotate.UpdateAccessKey, rotate.DeleteAccessKey}
	reads   = []rotate.Call{ListAccessKeys, GetUser, GetAccessKeyLastUsed}
	calls   = slices.Concat(changes, reads)
)

// readsOf is how many times as many calls that change nothing may be sent: AWS
// allows more of them.
const readsOf = 5

// Budget is rotate.Pace, one for each account. Every action has a bucket of its
// own, as in AWS: creations never delay deactivations and deletions. A nil
// Budget does not limit.
//
// The zero value is ready to use. A Budget is safe for concurrent use; its
// fields must not change once it is used.
type Budget struct {
	Most  float64 // calls per second of one action that changes something, never exceeded; zero: DefaultRate
	Burst int     // how many calls of one action may come at once while AWS refuses none; zero: DefaultBurst
	// Settings remember what was learnt, for other processes and later ones. nil: nothing is.
	Settings rotate.Settings
	Log      *slog.Logger     // nil: slog.Default
	Now      func() time.Time // dates what is remembered; nil: time.Now

	once    sync.Once
	buckets map[rotate.Call]*bucket
	memory
}

var _ rotate.Pace = (*Budget)(nil)

func (b *Budget) init() {
	b.once.Do(func() {
		if b.Most <= 0 {
			b.Most = DefaultRate
		}
		if b.Burst <= 0 {
			b.Burst = DefaultBurst
		}
		if b.Log == nil {
			b.Log = slog.Default()
		}
		if b.Now == nil {
			b.Now = time.Now
		}
		b.buckets = make(map[rotate.Call]*bucket, len(calls))
		for _, c := range changes {
			b.buckets[c] = newBucket(b.Most, b.Burst)
		}
		for _, c := range reads {
			b.buckets[c] = newBucket(readsOf*b.Most, readsOf*b.Burst)
		}
	})
}

// Wait implements [rotate.Pace]: it returns when the call may be made, or with
// ctx's error. Who came first is let through first.
func (b *Budget) Wait(ctx context.Context, call rotate.Call) error {
	if b == nil {
		return ctx.Err()
	}
	b.init()
	b.Recall(ctx)
	err := b.buckets[call].wait(ctx)
	b.keep(ctx, false)
	return err
}

// Sent says that a call is made now. heard is to be called with what came of
// it: AWS took it, or throttled it. It is not called if that is not known.
func (b *Budget) Sent(call rotate.Call) (heard func(throttled bool)) {
	if b == nil {
		return func(bool) {}
	}
	b.init()
	sent := time.Now()
	return func(throttled bool) { b.buckets[call].note(sent, throttled) }
}

// Spend takes a call's part of the budget without waiting, for the repetition
// of one that failed.
func (b *Budget) Spend(call rotate.Call) {
	if b == nil {
		return
	}
	b.init()
	b.buckets[call].spend()
}

// Rate returns how many calls of the action are allowed in a second now. Zero for
// a nil Budget.
func (b *Budget) Rate(call rotate.Call) float64 {
	if b == nil {
		return 0
	}
	b.init()
	return b.buckets[call].now()
}

// Found returns how many calls in a second each action was found to be allowed;
// actions are missing whose limit was not met.
func (b *Budget) Found() map[rotate.Call]float64 {
	found := map[rotate.Call]float64{}
	if b == nil {
		return found
	}
	b.init()
	for _, c := range calls {
		if rate, _, ok := b.buckets[c].found(); ok {
			found[c] = rate
		}
	}
	return found
}

// State returns how many calls of the slowest action are allowed in a second
// now, among those that change something, and the most that are. Both are zero for
// a nil Budget.
func (b *Budget) State() (now, most float64) {
	if b == nil {
		return 0, 0
	}
	b.init()
	now = b.Most
	for _, c := range changes {
		now = min(now, b.Rate(c))
	}
	return now, b.Most
}
