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

// lease extends the user's lease if less than left of it is left. One that was
// given up is taken again, unless the entry has changed meanwhile. One that has
// ended is not: somebody may have had it in between.
func (p *pass) lease(user string, left time.Duration) error {
	switch lasts := p.leased.Sub(p.now()); {
	case lasts > left:
		return nil
	case lasts <= 0 && !p.leased.IsZero():
		return fmt.Errorf("leasing %q: this process was too slow: %w", user, ErrLeased)
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
