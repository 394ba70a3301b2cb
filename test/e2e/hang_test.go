//go:build e2e && linux

package e2e

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestHangs starts a daemon while no call of AWS is answered, nor ever will be,
// as in a network that drops packets: once AWS answers others again the daemon
// is well. Stopped in the same way, it ends by itself. Either would take forever
// if an attempt had no bound.
func TestHangs(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]bool{"on a file": false, "on a table": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTroupe(t, 1, table, []string{dates, full})
			p.daemons, p.consumers = p.daemons[:1], p.consumers[:1]
			for _, c := range p.consumers {
				c.Doors = c.Doors[:1]
			}
			ctx, stop := context.WithTimeout(t.Context(), 2*patience)
			p.weather.Set(1, hanging)
			var wg sync.WaitGroup
			defer func() { stop(); wg.Wait() }()
			wg.Go(func() {
				if err := p.daemons[0].Run(ctx); err != nil {
					t.Error(err)
				}
			})
			for p.hung() == 0 && ctx.Err() == nil {
				sleep(ctx, pollInterval)
			}
			sleep(ctx, 8*time.Second)
			began := time.Now()
			if p.heal(ctx) == nil {
				return // which it has said
			}
			t.Logf("well %s after AWS answered again", time.Since(began).Round(time.Second))
			before := p.hung()
			p.weather.Set(1, hanging)
			for p.hung() == before && ctx.Err() == nil {
				sleep(ctx, pollInterval)
			}
			began = time.Now()
			stop()
			wg.Wait()
			t.Logf("ended %s after SIGTERM", time.Since(began).Round(time.Second))
		})
	}
}

// hung returns how many calls will never be answered.
func (p *troupe) hung() int {
	_, hits := p.weather.Hits()
	return hits[hanging]
}
