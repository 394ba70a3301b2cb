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

// listTime bounds the question while there is something to hand out without an
// answer, so that a store that hangs does not make the route hang.
const listTime = 5 * time.Second

// health tells how the users are, from what the store holds.
type health struct {
	roster *rotate.Roster
	now    func() time.Time
	late   *rotate.Late    // nil: hand-outs are recorded at once or refused
	down   func() []string // publishers that fail for all users; nil: this process publishes nothing
	// capacity is of users whose schedules have this interval on average. nil: not known.
	capacity func(users int, every time.Duration) plan.Capacity
	// unenrolled counts the users that should be among the store's and are not. nil:
	// this process enrols nobody.
	unenrolled func([]*rotate.Entry) int
	// promised is for how many users something can be handed out from memory. nil: nobody.
	promised func() int

	mu    sync.Mutex
	last  api.Health
	ahead plan.Capacity
	err   error
	at    time.Time
}

// Capacity is what [health.Health] last found to be coming.
func (h *health) Capacity() plan.Capacity {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ahead
}

// Health implements server.Health. While the store cannot be read, it returns
// its error with how many users are served from memory.
func (h *health) Health(ctx context.Context) (api.Health, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if age := now.Sub(h.at); age >= 0 && age < healthAge {
		return h.last, h.err
	}
	h.last, h.err, h.at = api.Health{}, nil, now
	promised := 0
	if h.promised != nil {
		promised = h.promised()
	}
	if promised > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, listTime)
		defer cancel()
	}
	o, err := h.roster.Overview(ctx)
	if err != nil {
		h.last.Users, h.last.Serving, h.err = promised, promised, err
		return h.last, err
	}
	h.last.Users, h.last.Serving, h.last.Overdue = o.Users, o.Serving, o.Overdue
	if h.unenrolled != nil {
		all, _, _ := h.roster.All(ctx) // which was looked at just now
		h.last.Overdue += h.unenrolled(all)
	}
	if h.capacity != nil {
		h.ahead = h.capacity(o.Users, o.Every)
		h.last.WillBeOverdue = h.ahead.Late
	}
	if h.late != nil {
		h.last.Unrecorded = h.late.Waiting()
	}
	if h.down != nil {
		h.last.PublishersDown = len(h.down())
	}
	return h.last, nil
}
