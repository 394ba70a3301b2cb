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

// acquire takes or extends the user's lease.
func (r *Rotator) acquire(ctx context.Context, user string) (lease, error) {
	now := r.now()
	version, err := r.Store.Acquire(ctx, user, r.Owner, now, leaseTTL)
	if errors.Is(err, ErrLeased) {
		return lease{}, err // an answer, which says enough
	}
	if err != nil {
		return lease{}, fmt.Errorf("acquiring the lease of %q: %w", user, err)
	}
	return lease{now.Add(leaseTTL), version}, nil
}

// lease extends the user's lease if less than half of it is left.
func (p *pass) lease(user string) error { return p.outlast(user, leaseTTL/2) }

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
	l, err := p.acquire(p.ctx, user)
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
