package sim

import (
	"testing"
	"time"
)

// TestRestores has the store put back to an older copy of minutes to days ago,
// and operators who recover the users: in a world that only lags, and in one
// where everything else goes wrong, too.
func TestRestores(t *testing.T) {
	t.Parallel()
	length := span(48 * time.Hour)
	seeds := []uint64{
		9,
		11, // what readers were told kept the slot of the rotation after a recovery
		12, // an old list made the planner forget when a key was to be deleted
		13, // as 11, told in the seconds before the new key was proven
	}
	if *seed != 0 {
		seeds = seeds[:1] // it takes that one's place
	}
	for _, n := range seeds {
		res := run(t, Config{Seed: n, Users: 20, For: length, Daemons: 2, Faults: Faults{Consistency: true, Publish: 0.1, Restore: 2 * time.Hour}})
		if *seed == 0 && res.Restores < int(length/time.Hour)/4 { // how many there are is drawn
			t.Errorf("only %d restores", res.Restores)
		}
	}
}

func TestRestoresAmidFaults(t *testing.T) {
	t.Parallel()
	f := everything
	f.Restore = 6 * time.Hour
	res := run(t, Config{Seed: 10, Users: 20, For: span(72 * time.Hour), Daemons: 3, Faults: f, Terse: true})
	if res.Restores < 3 && !raceEnabled {
		t.Errorf("only %d restores", res.Restores)
	}
}
