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
