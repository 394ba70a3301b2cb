package awsiam

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestPaceLimitsAndKeepsAReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, start := &Pace{}, time.Now()
		for range 4 {
			if err := p.Wait(t.Context(), rotate.CreateAccessKey); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("a burst of creations took %s, want none", d)
		}
		if err := p.Wait(t.Context(), rotate.DeleteAccessKey); err != nil || time.Since(start) != 0 {
			t.Errorf("an urgent call after a burst of creations took %s, %v, want none", time.Since(start), err)
		}
		for range 16 {
			_ = p.Wait(t.Context(), rotate.CreateAccessKey)
		}
		if d := time.Since(start); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("16 creations took %s, want about 10s", d)
		}
	})
}

func TestPaceHalvesAndRecovers(t *testing.T) {
	t.Parallel()
	p := &Pace{PerSecond: 8}
	throttled := &smithy.GenericAPIError{Code: "Throttling"}
	p.note(throttled)
	p.note(throttled)
	if p.limit != 2 || p.all.Limit() != 2 {
		t.Errorf("limit after two throttlings = %v, want 2", p.limit)
	}
	p.note(nil)
	if p.limit <= 2 || p.limit >= 3 {
		t.Errorf("limit after one success = %v, want a little above 2", p.limit)
	}
	for range 100 {
		p.note(nil)
	}
	if p.limit != 8 {
		t.Errorf("limit after many successes = %v, want 8", p.limit)
	}
	for range 100 {
		p.note(throttled)
	}
	if p.limit <= 0 {
		t.Errorf("limit after many throttlings = %v, want above 0", p.limit)
	}
}
