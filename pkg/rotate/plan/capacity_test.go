package plan_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

func TestCapacity(t *testing.T) {
	t.Parallel()
	const m = time.Minute
	for name, row := range map[string]struct {
		load     plan.Load
		feasible bool
		scarce   string
		most     int
		shortest time.Duration
		late     int
		lateBy   time.Duration
		start    time.Duration
	}{
		"100 users at the defaults": {
			plan.Load{Users: 100, Every: 10 * m, Creates: 10, Updates: 10, Deletes: 10, Workers: 8},
			true, "CreateAccessKey", 4500, 14 * time.Second, 0, 0, 10 * time.Second,
		},
		"500 users, of which an account allows a quarter": {
			plan.Load{Users: 500, Every: 10 * m, Creates: 0.207, Updates: 10, Deletes: 10, Workers: 8},
			false, "CreateAccessKey", 93, 3221 * time.Second, 376, 30*m + 15*time.Second, 2415 * time.Second,
		},
		"deactivations are the bottleneck": {
			plan.Load{Users: 6000, Every: 10 * m, Creates: 10, Updates: 5, Deletes: 10, Workers: 50},
			false, "UpdateAccessKey", 2250, 1600 * time.Second, 3000, 10 * m, 20 * m,
		},
		"more than is reliable, less than is possible": {
			plan.Load{Users: 5700, Every: 10 * m, Creates: 10, Updates: 10, Deletes: 10, Workers: 50},
			false, "CreateAccessKey", 4500, 760 * time.Second, 0, 0, 570 * time.Second,
		},
		"too few workers for slow calls": {
			plan.Load{Users: 2000, Every: 10 * m, Creates: 10, Updates: 10, Deletes: 10, Workers: 2, Call: 200 * time.Millisecond},
			false, "workers", 375, 3200 * time.Second, 1500, 30 * m, 40 * m,
		},
		"nobody": {plan.Load{Every: 10 * m, Creates: 10, Workers: 8}, true, "CreateAccessKey", 1<<31 - 1, 0, 0, 0, 0},
		"no limit is known": {
			plan.Load{Users: 5000, Every: 10 * m}, true, "", 1<<31 - 1, 0, 0, 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := row.load.Capacity()
			if c.Feasible != row.feasible || c.Scarce != row.scarce || c.Most != row.most || c.Shortest != row.shortest ||
				c.Late != row.late || c.LateBy != row.lateBy || c.AllAtOnce != row.start {
				t.Errorf("Capacity() = %+v, want %+v", c, row)
			}
			if (c.Complaint() == "") != c.Feasible {
				t.Errorf("Complaint() = %q, want one only for what is not feasible", c.Complaint())
			}
			if !c.Feasible && !strings.Contains(c.Remedy(), "rotate_every") {
				t.Errorf("Remedy() = %q, want the shortest interval", c.Remedy())
			}
			longer := row.load
			longer.Every = c.Shortest
			if c.Shortest > 0 && !longer.Capacity().Feasible {
				t.Errorf("the shortest interval %s is not feasible", c.Shortest)
			}
		})
	}
}

// What is predicted is what a queue does: users that are due are served in turn,
// as fast as can be.
func TestLatenessIsAsAQueueHasIt(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, possible := range []float64{0.2, 0.4, 0.7, 2} { // rotations per second; 500 users need 0.83
		load := plan.Load{Users: 500, Every: 10 * time.Minute, Creates: possible}
		c := load.Capacity()
		due := make([]float64, load.Users) // seconds
		for i := range due {
			due[i] = rnd.Float64() * load.Every.Seconds()
		}
		const day = 86400.0
		late, latest := 0, 0.0
		for now := 0.0; now < day; now += 1 / possible {
			i := slices.Index(due, slices.Min(due))
			now = max(now, due[i])
			if now > day/2 {
				latest = max(latest, now-due[i])
				n := 0
				for _, d := range due {
					if d < now {
						n++
					}
				}
				late = max(late, n)
			}
			due[i] = max(due[i], now) + load.Every.Seconds()
		}
		if c.Feasible {
			if latest > 60 {
				t.Errorf("%v rotations per second: feasible, but users are %.0f s late", possible, latest)
			}
			continue
		}
		if diff := late - c.Late; diff < -10 || diff > 10 || latest > c.LateBy.Seconds()*1.05 || latest < c.LateBy.Seconds()*0.95 {
			t.Errorf("%v rotations per second: %d users late by %.0f s, predicted %d by %s", possible, late, latest, c.Late, c.LateBy)
		}
	}
}

func TestMeanInterval(t *testing.T) {
	t.Parallel()
	if got := plan.MeanInterval([]time.Duration{10 * time.Minute, 30 * time.Minute}); got != 15*time.Minute {
		t.Errorf("MeanInterval(10m, 30m) = %s, want 15m: two rotations in 15 minutes", got)
	}
	if got := plan.MeanInterval(nil); got != 0 {
		t.Errorf("MeanInterval() = %s, want 0", got)
	}
}
