//go:build e2e && linux

package e2e

import (
	"context"
	"sync"
	"testing"
	"time"
)

// How long a daemon may take until it is well, and until it has ended, while
// calls of its that will never be answered are under way. The bound of one
// attempt is ten seconds.
const hangTime = time.Minute

// TestHangs starts a daemon while no call of AWS is answered, nor ever will be,
// as in a network that drops packets: once AWS answers others again the daemon
// is well in bounded time. Stopped in the same way, it ends in bounded time.
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
			ctx, stop := context.WithCancel(t.Context())
			p.weather.Set(1, hanging)
			var wg sync.WaitGroup
			defer func() { stop(); wg.Wait() }()
			wg.Go(func() {
				if err := p.daemons[0].Run(ctx); err != nil {
					t.Error(err)
				}
			})
			sleep(ctx, 8*time.Second)
			p.weather.Set(0)
			began := time.Now()
			var err error
			for limit := began.Add(hangTime); time.Now().Before(limit); sleep(ctx, 500*time.Millisecond) {
				if _, err = p.well(ctx); err == nil {
					break
				}
			}
			_, hits := p.weather.Hits()
			if err != nil || hits[hanging] == 0 {
				t.Fatalf("%s after AWS answered again, with %d calls that never were answered: %v", hangTime, hits[hanging], err)
			}
			t.Logf("%d calls were never answered; well %s later", hits[hanging], time.Since(began).Round(time.Second))
			p.weather.Set(1, hanging)
			sleep(ctx, 4*time.Second)
			began = time.Now()
			stop()
			wg.Wait()
			if took := time.Since(began); took > hangTime {
				t.Errorf("it ended %s after SIGTERM, want %s at most", took, hangTime)
			}
			t.Logf("ended %s after SIGTERM", time.Since(began).Round(time.Second))
		})
	}
}
