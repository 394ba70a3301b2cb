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
	if errors.Is(err, ErrLeased) && r.inherit(ctx, user) {
		l, err = r.acquire(ctx, user, 0)
	}
	if err != nil && !errors.Is(err, ErrLeased) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
		defer cancel()
		_ = r.Store.Release(ctx, user, r.Owner) // it ends by itself anyway
	}
	return l, err
}

// inherit ends the user's lease if its owner is one of [Rotator.Dead]. What that
// process has sent may still have its effect, so the entry is marked first.
func (r *Rotator) inherit(ctx context.Context, user string) bool {
	if r.Dead == nil {
		return false
	}
	for _, dead := range r.Dead() {
		ended, err := r.endLease(ctx, user, dead)
		if err != nil && !errors.Is(err, ErrLeased) {
			r.Log.Warn("the lease of a process that is gone stays until it ends", "user", user, "owner", dead, "err", err)
		}
		if ended {
			r.Log.Info("the lease of a process that is gone was ended", "user", user, "owner", dead)
			return true
		}
	}
	return false
}

// endLease ends the lease if dead holds it. It acts as dead meanwhile, which
// nobody else does, so that no third process takes an entry that is not marked.
func (r *Rotator) endLease(ctx context.Context, user, dead string) (bool, error) {
	e, err := r.Store.Load(ctx, user)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	next, ok := e.Record.Inherited(r.policy(user, e.Record.UserID), r.now())
	if !ok {
		return false, nil
	}
	version, err := r.Store.Acquire(ctx, user, dead, r.now(), r.leaseTime(user))
	switch {
	case err != nil:
		return false, err
	case version != e.Version:
		return false, nil // the next attempt will do
	case version == 0:
		return true, r.Store.Release(ctx, user, dead)
	}
	e.Record, e.Leave = next, dead
	_, err = r.Store.Save(ctx, e)
	return err == nil, err
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
