package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lease is a lease as it was taken: until when, and the version of the entry
// that it was taken on.
type lease struct {
	until   time.Time
	version int64
}

// longestLease is how long others wait at most for a process that died.
const longestLease = time.Minute

// leaseTime is how long a lease of this user lasts unless it is extended: a tenth
// of the interval, so that who died makes nobody overdue. But a call is made with
// at least half of it left, and what a process that died has sent may have its
// effect until [plan.Policy.Over]: until then nobody else acts on the user, because
// nothing that is saved tells of a key that is being taken away.
func (r *Rotator) leaseTime(user string) time.Duration {
	p := r.schedule(user).WithDefaults()
	return min(longestLease, max(p.RotateEvery/10, 2*p.Over(time.Time{}).Sub(time.Time{})))
}

// spare is how long before the lease's end the last call's bound is.
const spare = time.Second

// acquire takes or extends the user's lease, for least at least.
func (r *Rotator) acquire(ctx context.Context, user string, least time.Duration) (lease, error) {
	now, ttl := r.now(), max(least, r.leaseTime(user))
	version, err := r.Store.Acquire(ctx, user, r.Owner, now, ttl)
	if errors.Is(err, ErrLeased) {
		return lease{}, err // an answer, which says enough
	}
	if err != nil {
		return lease{}, fmt.Errorf("acquiring the lease of %q: %w", user, err)
	}
	return lease{now.Add(ttl), version}, nil
}

// take takes the user's lease for a pass. If that gets no answer, also because ctx
// has ended, a lease that was taken all the same is given up: nothing was done
// under it, and the next process need not wait for its end.
func (r *Rotator) take(ctx context.Context, user string) (lease, error) {
	l, err := r.acquire(ctx, user, 0)
	if err != nil && !errors.Is(err, ErrLeased) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
		defer cancel()
		_ = r.Store.Release(ctx, user, r.Owner) // it ends by itself anyway
	}
	return l, err
}

// lease extends the user's lease if less than half of it is left.
func (p *pass) lease(user string) error { return p.outlast(user, p.leaseTime(user)/2) }

// outlast extends the user's lease unless it lasts for longer than d. One that
// has ended is not taken again: somebody may have had it in between. One that
// was given up is, unless the entry has changed meanwhile.
func (p *pass) outlast(user string, d time.Duration) error {
	left := p.leased.Sub(p.now())
	switch {
	case left > d:
		return nil
	case left <= 0 && !p.leased.IsZero():
		return fmt.Errorf("user %q: this process was too slow: %w", user, ErrLeased)
	}
	l, err := p.acquire(p.ctx, user, d+min(d, longestLease/4))
	if err != nil {
		return err
	}
	changed := p.leased.IsZero() && l.version != p.saved.Version
	p.leased, p.left = l.until, false
	if changed {
		return fmt.Errorf("leasing %q: %w", user, ErrConflict)
	}
	return nil
}
