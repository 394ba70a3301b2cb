package rotate

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// urgency is the order in which those who wait at a gate are let in.
type urgency struct {
	rank plan.Rank
	due  time.Time // the earlier of two of one rank goes first
}

func (u urgency) compare(o urgency) int {
	return cmp.Or(cmp.Compare(u.rank, o.rank), u.due.Compare(o.due))
}

// gate lets so many in at once, the most urgent first. It is safe for concurrent
// use.
type gate struct {
	size  int
	spare int // places beside those, never for what only makes another key

	mu       sync.Mutex
	inside   int
	creating int // of them, those that only make another key
	waiting  []*place
}

// place is a place inside a gate, or at it.
type place struct {
	urgency
	gate *gate
	in   chan struct{} // closed when it is inside
}

// join takes a place at the gate. It must be left, whether or not it came in.
func (g *gate) join(u urgency) *place {
	p := &place{u, g, make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	// Behind those that are as urgent.
	i, _ := slices.BinarySearchFunc(g.waiting, u, func(w *place, u urgency) int { return cmp.Or(w.compare(u), -1) })
	g.waiting = slices.Insert(g.waiting, i, p)
	g.admit()
	return p
}

// wait returns once the place is inside, or with ctx's error.
func (p *place) wait(ctx context.Context) error {
	select {
	case <-p.in:
		return nil
	default:
	}
	select {
	case <-p.in:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives the place up.
func (p *place) leave() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-p.in:
		g.count(p, -1)
	default:
		g.waiting = slices.DeleteFunc(g.waiting, func(w *place) bool { return w == p })
	}
	g.admit()
}

// crowded reports whether n or more wait.
func (g *gate) crowded(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting) >= n
}

// admit lets in whom there is room for. mu is held.
func (g *gate) admit() {
	for i := 0; i < len(g.waiting) && g.inside < g.size+g.spare; {
		p := g.waiting[i]
		if p.rank == plan.RankCreate && g.creating >= g.size {
			return // they are the last ones
		}
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.count(p, 1)
		close(p.in)
	}
}

func (g *gate) count(p *place, n int) {
	g.inside += n
	if p.rank == plan.RankCreate {
		g.creating += n
	}
}
