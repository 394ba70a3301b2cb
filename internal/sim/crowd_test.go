package sim

import (
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

var many = flag.Int("sim.users", 0, "TestManyUsers: how many; without it, it is short")

// perRotation is how many calls of each action that changes IAM a rotation takes.
const perRotation = 1

// TestEverybodyDueAtOnce has 500 users without a key, all of whom are due in the
// first second. What can be expected follows from the pace: a rotation takes one
// call of each action, so the interval that it allows is N by the rate. Where that is the
// schedule's or less, everybody is on time once all have caught up; where it is
// more, everybody is late, and nobody is left behind. In both, a key that was made
// is promoted once it has settled, whoever else waits for one.
func TestEverybodyDueAtOnce(t *testing.T) {
	t.Parallel()
	every := plan.Policy{}.WithDefaults().RotateEvery
	crowds := []struct {
		users     int
		perSecond float64 // 0: the default
	}{{100, 0.12}, {500, 0.6}, {500, 2}, {500, 0}}
	if raceEnabled {
		crowds = crowds[:1] // without it there are all of them
	}
	for _, c := range crowds {
		users, perSecond := c.users, c.perSecond
		t.Run(fmt.Sprintf("%g per second", perSecond), func(t *testing.T) {
			t.Parallel()
			budget := &pace.Budget{Most: perSecond}
			_, most := budget.State()
			possible := time.Duration(perRotation * float64(users) / most * float64(time.Second))
			feasible := possible <= every
			res := run(t, Config{
				Seed: 1, Users: users, For: span(3 * time.Hour), Pace: budget, Tight: !feasible, Warm: 2 * every,
			})
			if res.Behind > 20*time.Second {
				t.Errorf("a key was promoted %s after it was made, want 20s at most: proofs, and 10s to settle", res.Behind)
			}
			limit := every + time.Minute
			if !feasible { // slots are every so often: a user that misses one waits for the next
				limit = 2*possible + every/2
			}
			if res.Gap > limit {
				t.Errorf("a user had to wait %s for the next key, want at most %s: the pace allows %s", res.Gap, limit, possible)
			}
			if feasible && (res.Overdue > 0 || res.Late > 30*time.Second) {
				t.Errorf("%d users are overdue, the latest promotion came %s after its slot, want none and 30s at most: the pace allows %s",
					res.Overdue, res.Late, possible)
			}
			if want := float64(users) * span(3*time.Hour).Seconds() / max(possible, every).Seconds(); float64(res.Rotations) < 0.9*want {
				t.Errorf("%d rotations, want 0.9 of the %.0f that the pace and the schedule allow", res.Rotations, want)
			}
		})
	}
}

// TestManyUsers is the same with as many users as -sim.users says, for -sim.hours:
// make sim USERS=20000 HOURS=24. It tells what that costs.
func TestManyUsers(t *testing.T) {
	t.Parallel()
	users := 2000
	if raceEnabled {
		users = 200 // without it there are all of them
	}
	if *many > 0 {
		users = *many
	}
	policy := plan.Policy{}.WithDefaults()
	rate := 1.34 * perRotation * float64(users) / policy.RotateEvery.Seconds()
	before := cpu(t)
	res := run(t, Config{
		Seed: 1, Users: users, For: span(time.Hour), Pace: &pace.Budget{Most: rate, Burst: int(rate) + 1}, Workers: 32, Idle: true, Terse: true,
	})
	t.Logf("%s of processor time, %d rotations", cpu(t)-before, res.Rotations)
	if res.Overdue > 0 {
		t.Errorf("%d of %d users are overdue, want none at %.0f calls a second", res.Overdue, users, rate)
	}
	if res.Behind > 20*time.Second {
		t.Errorf("a key was promoted %s after it was made, want 20s at most", res.Behind)
	}
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
