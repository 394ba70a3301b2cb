package cli

import (
	"context"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// healthAge bounds how often the store is asked: the route is open to all.
const healthAge = time.Second

// health tells how the users are, from what the store holds.
type health struct {
	store  rotate.Store
	policy func(user string) plan.Policy
	now    func() time.Time
	late   *rotate.Late    // nil: hand-outs are recorded at once or refused
	down   func() []string // publishers that fail for all users; nil: this process publishes nothing

	mu   sync.Mutex
	last api.Health
	err  error
	at   time.Time
}

// Health implements server.Health.
func (h *health) Health(ctx context.Context) (api.Health, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if age := now.Sub(h.at); age >= 0 && age < healthAge {
		return h.last, h.err
	}
	h.last, h.err, h.at = api.Health{}, nil, now
	entries, err := h.store.List(ctx)
	if err != nil {
		h.err = err
		return h.last, err
	}
	for _, e := range entries {
		p := h.policy(e.Record.User)
		h.last.Users++
		if _, ok := plan.Serve(e.Record, p, now); ok {
			h.last.Serving++
		}
		if _, late := plan.Overdue(e.Record, p, now); late && !e.Record.Paused(now) {
			h.last.Overdue++
		}
	}
	if h.late != nil {
		h.last.Unrecorded = h.late.Waiting()
	}
	if h.down != nil {
		h.last.PublishersDown = len(h.down())
	}
	return h.last, nil
}
