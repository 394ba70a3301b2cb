package cost_test

import (
	"math"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/cost"
)

func TestBills(t *testing.T) {
	t.Parallel()
	bills := cost.Bills(cost.Load{Users: 10, RotateEvery: 10 * time.Minute})
	// 43,800 rotations; two secrets each, one put and one get.
	if got := bills[3].Total(); math.Abs(got-8.44) > 0.01 {
		t.Errorf("Secrets Manager for 10 users = %.2f, want 8.44", got)
	}
	if bills[0].Total() != 0 || bills[1].Total() <= 1 || bills[2].Total() <= bills[1].Total() {
		t.Errorf("bills = %+v", bills)
	}
	last := 0.0
	for _, users := range []int{10, 500, 5000} {
		total := cost.Bills(cost.Load{Users: users, RotateEvery: 10 * time.Minute})[2].Total()
		if total <= last {
			t.Errorf("%d users cost %.2f, fewer cost %.2f", users, total, last)
		}
		last = total
	}
	slow := cost.Bills(cost.Load{Users: 10, RotateEvery: 90 * 24 * time.Hour})
	if got := slow[3].Lines[0].Dollars; got != 4 {
		t.Errorf("secrets at 90 days = %.2f, want one for each user", got)
	}
}

// Provisioned capacity is chosen when it is cheaper by some dollars, and holds
// twice the load.
func TestCapacity(t *testing.T) {
	t.Parallel()
	load := func(users int) cost.Load { return cost.Load{Users: users, RotateEvery: 10 * time.Minute} }
	if c := load(50).Capacity(); c != (cost.Capacity{}) {
		t.Errorf("50 users: %+v, want on demand", c)
	}
	if c := (cost.Load{Users: 5000, RotateEvery: 90 * 24 * time.Hour}).Capacity(); c != (cost.Capacity{}) {
		t.Errorf("5,000 users with a key in 90 days: %+v, want on demand", c)
	}
	c := load(5000).Capacity()
	each := cost.PerRotation.WriteUnits + cost.PerHandout.WriteUnits
	if got, want := float64(c.Write), 2*5000*each/600; got < want || got > want+1 {
		t.Errorf("5,000 users: %g write units a second, want %.1f", got, want)
	}
	if c.Read == 0 || c.IndexRead == 0 || c.IndexWrite == 0 {
		t.Errorf("5,000 users: %+v", c)
	}
	lines := cost.Bills(load(5000))[1].Lines
	writes := 5000 * 730 * 6 * each * 0.625e-6
	if lines[1].Dollars > writes*0.65 {
		t.Errorf("provisioned writes cost %.2f, on demand they were %.2f", lines[1].Dollars, writes)
	}
}

// An agent that asks twice a minute is the larger part of a stack's bill.
func TestAgentsAreInTheBill(t *testing.T) {
	t.Parallel()
	total := func(agents float64) float64 {
		return cost.Bills(cost.Load{Users: 100, RotateEvery: 10 * time.Minute, Agents: agents})[2].Total()
	}
	asked := 100 * 730 * 120 * 3.50 / 1e6 // of API Gateway alone
	if got := total(1) - total(0); got < asked || got > 2*asked {
		t.Errorf("an agent for each of 100 users costs %.2f, want at least %.2f", got, asked)
	}
}
