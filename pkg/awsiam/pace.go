package awsiam

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/time/rate"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Pace is rotate.Pace: it limits the calls that change IAM, which AWS throttles per account at
// rates it does not publish. It halves when AWS throttles and recovers slowly.
// A part of it is kept for calls other than CreateAccessKey, so that a crowd of
// creations never delays them. A nil Pace does not limit.
//
// The zero value is ready to use. It is safe for concurrent use.
type Pace struct {
	PerSecond float64 // calls; zero: 2
	Burst     int     // zero: 5

	once    sync.Once
	mu      sync.Mutex
	limit   float64
	all     *rate.Limiter
	routine *rate.Limiter
}

const (
	defaultPerSecond = 2
	defaultBurst     = 5
	routineShare     = 0.8  // of PerSecond and of Burst
	recovery         = 0.05 // of PerSecond, gained by every call that is not throttled
	floor            = 0.05 // of PerSecond, below which it never falls
)

func (p *Pace) init() {
	p.once.Do(func() {
		if p.PerSecond <= 0 {
			p.PerSecond = defaultPerSecond
		}
		if p.Burst <= 0 {
			p.Burst = defaultBurst
		}
		p.limit = p.PerSecond
		p.all = rate.NewLimiter(rate.Limit(p.limit), p.Burst)
		p.routine = rate.NewLimiter(rate.Limit(p.limit*routineShare), max(1, int(float64(p.Burst)*routineShare)))
	})
}

// State returns how many calls per second are allowed right now, and how many
// while AWS does not throttle. Both are zero for a nil Pace.
func (p *Pace) State() (now, most float64) {
	if p == nil {
		return 0, 0
	}
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit, p.PerSecond
}

// Wait implements [rotate.Pace].
func (p *Pace) Wait(ctx context.Context, call rotate.Call) error {
	if p == nil {
		return ctx.Err()
	}
	p.init()
	if call == rotate.CreateAccessKey {
		if err := p.routine.Wait(ctx); err != nil {
			return err
		}
	}
	return p.all.Wait(ctx)
}

// note adapts the pace to the outcome of a call.
func (p *Pace) note(err error) {
	if p == nil {
		return
	}
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(codes[code(err)], rotate.ErrThrottled) {
		p.limit = max(p.limit/2, p.PerSecond*floor)
	} else {
		p.limit = min(p.limit+p.PerSecond*recovery, p.PerSecond)
	}
	p.all.SetLimit(rate.Limit(p.limit))
	p.routine.SetLimit(rate.Limit(p.limit * routineShare))
}
