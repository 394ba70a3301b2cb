package pace_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// account is an IAM that throttles each action by a token bucket.
type account struct {
	latency time.Duration
	limit   func(rotate.Call) *rate.Limiter
	dark    bool // everything is refused

	mu       sync.Mutex
	accepted map[rotate.Call]int
	refused  map[rotate.Call]int
}

// each gives every action a bucket of its own.
func each(perSecond float64, burst int) func(rotate.Call) *rate.Limiter {
	buckets := map[rotate.Call]*rate.Limiter{}
	return func(c rotate.Call) *rate.Limiter {
		if buckets[c] == nil {
			buckets[c] = rate.NewLimiter(rate.Limit(perSecond), burst)
		}
		return buckets[c]
	}
}

// call makes one call as package awsiam does, and again when it is throttled.
func (a *account) call(ctx context.Context, b *pace.Budget, c rotate.Call) error {
	for {
		if err := b.Wait(ctx, c); err != nil {
			return err
		}
		heard := b.Sent(c)
		time.Sleep(a.latency / 2)
		a.mu.Lock()
		ok := a.limit(c).Allow() && !a.dark
		if a.accepted == nil {
			a.accepted, a.refused = map[rotate.Call]int{}, map[rotate.Call]int{}
		}
		if ok {
			a.accepted[c]++
		} else {
			a.refused[c]++
		}
		a.mu.Unlock()
		time.Sleep(a.latency / 2)
		heard(!ok)
		if ok {
			return nil
		}
	}
}

// crowd makes n calls at once and returns how long they took together.
func (a *account) crowd(t *testing.T, b *pace.Budget, c rotate.Call, n int) time.Duration {
	t.Helper()
	start := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := a.call(t.Context(), b, c); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func (a *account) reset() {
	a.accepted, a.refused = map[rotate.Call]int{}, map[rotate.Call]int{}
}

// Whatever AWS allows is found within seconds and used; then hardly a call is
// refused, although the limit is tested.
func TestALimitIsFoundAndHeld(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		limit   float64
		burst   int
		latency time.Duration
		most    float64
	}{
		{2, 5, 50 * time.Millisecond, 10},
		{5, 5, 50 * time.Millisecond, 10},
		{5, 100, 50 * time.Millisecond, 10},
		{10, 5, 50 * time.Millisecond, 10}, // never met
		{10, 10, 50 * time.Millisecond, 50},
		{10, 10, 400 * time.Millisecond, 50},
		{10, 100, 50 * time.Millisecond, 50},
		{20, 20, 50 * time.Millisecond, 50},
	} {
		t.Run(fmt.Sprintf("%v a second, %d at once, %s, most %v", row.limit, row.burst, row.latency, row.most), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &account{latency: row.latency, limit: each(row.limit, row.burst)}
				b := &pace.Budget{Most: row.most}
				const n = 500
				least := n / row.limit
				if took := a.crowd(t, b, rotate.CreateAccessKey, n).Seconds(); took > least/0.9 {
					t.Errorf("%d calls took %.1f s, want at least 90 %% of the limit used: %.1f s", n, took, least/0.9)
				}
				a.crowd(t, b, rotate.CreateAccessKey, int(60*row.limit))
				a.reset()
				a.crowd(t, b, rotate.CreateAccessKey, int(900*row.limit))
				refused := float64(a.refused[rotate.CreateAccessKey]) / float64(a.accepted[rotate.CreateAccessKey])
				if refused > 0.01 {
					t.Errorf("%.2f %% of the calls are refused once the limit is found, want at most 1 %%", 100*refused)
				}
			})
		})
	}
}

// A process begins with what another has learnt: nothing is refused.
func TestWhatWasLearntIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rotatetest.MemStore{}
		a := &account{latency: 50 * time.Millisecond, limit: each(10, 20)}
		b := &pace.Budget{Most: 50, Settings: store}
		a.crowd(t, b, rotate.CreateAccessKey, 500)
		b.Flush(t.Context())
		known, err := pace.Recall(t.Context(), store, 50, time.Now())
		if r := known[rotate.CreateAccessKey]; err != nil || r < 8.5 || r > 10.2 {
			t.Fatalf("Recall() = %v, %v, want about 10 for CreateAccessKey", known, err)
		}
		if _, ok := known[rotate.DeleteAccessKey]; ok {
			t.Errorf("Recall() = %v, want nothing for an action that was not called", known)
		}

		for i := range 5 {
			time.Sleep(10 * time.Second)
			a.reset()
			b := &pace.Budget{Most: 50, Settings: store}
			took := a.crowd(t, b, rotate.CreateAccessKey, 500).Seconds()
			b.Flush(t.Context())
			if n := a.refused[rotate.CreateAccessKey]; n > 0 || took > 50/0.9 {
				t.Errorf("500 calls of process %d: %d refused in %.1f s, want 0 in at most %.1f s", i+2, n, took, 50/0.9)
			}
		}
	})
}

// What was learnt long ago says little: the rate begins between it and that of
// an account that is not known.
func TestOldKnowledgeFades(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		age  time.Duration
		want float64
	}{{0, 1}, {5 * time.Hour, 1}, {15 * time.Hour, 5.5}, {25 * time.Hour, 10}, {-2 * time.Hour, 10}} {
		t.Run(row.age.String(), func(t *testing.T) {
			t.Parallel()
			store := &rotatetest.MemStore{}
			now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
			at := now.Add(-row.age).Format(time.RFC3339)
			raw := fmt.Appendf(nil, `{"CreateAccessKey":{"rate":1,"at":%q},"ListAccessKeys":{"rate":1,"at":%q}}`, at, at)
			if _, err := store.SaveSetting(t.Context(), "iam.pace", raw, 0); err != nil {
				t.Fatal(err)
			}
			known, err := pace.Recall(t.Context(), store, 10, now)
			if got, ok := known[rotate.CreateAccessKey]; err != nil || ok && got != row.want || !ok && row.want < 10 {
				t.Errorf("Recall() = %v, %v, want what the budget begins with, %v, or nothing for 10", known, err, row.want)
			}
			b := &pace.Budget{Most: 10, Settings: store, Now: func() time.Time { return now }}
			if err := b.Wait(t.Context(), rotate.CreateAccessKey); err != nil {
				t.Fatal(err)
			}
			if got := b.Rate(rotate.CreateAccessKey); got != row.want {
				t.Errorf("the rate is %v, want %v", got, row.want)
			}
			if got, ok := known[pace.ListAccessKeys]; ok && got != b.Rate(pace.ListAccessKeys) {
				t.Errorf("Recall() says %v of reads, the budget begins with %v", got, b.Rate(pace.ListAccessKeys))
			}
			b.Flush(t.Context())
			if kept, _, err := store.Setting(t.Context(), "iam.pace"); err != nil || string(kept) != string(raw) {
				t.Errorf("kept is %s, %v, want what was found, %s: nothing was since", kept, err, raw)
			}
		})
	}
}

// Settings that fail, or hold what is not ours, cost nothing but the knowledge.
func TestASettingThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rotatetest.MemStore{}
		if _, err := store.SaveSetting(t.Context(), "iam.pace", []byte("no JSON"), 0); err != nil {
			t.Fatal(err)
		}
		a := &account{limit: each(5, 5)}
		b := &pace.Budget{Settings: store}
		a.crowd(t, b, rotate.DeleteAccessKey, 300)
		b.Flush(t.Context())
		if known, err := pace.Recall(t.Context(), store, pace.DefaultRate, time.Now()); err != nil || known[rotate.DeleteAccessKey] < 4 {
			t.Errorf("Recall() = %v, %v, want what was learnt to take its place", known, err)
		}
	})
}

// Two processes learn of one account: neither hides what the other found.
func TestTwoProcessesRemember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rotatetest.MemStore{}
		a := &account{limit: each(5, 5)}
		one, two := &pace.Budget{Settings: store}, &pace.Budget{Settings: store}
		_, _ = one.Wait(t.Context(), rotate.CreateAccessKey), two.Wait(t.Context(), rotate.DeleteAccessKey) // both have read
		a.crowd(t, one, rotate.CreateAccessKey, 300)
		a.crowd(t, two, rotate.DeleteAccessKey, 300)
		one.Flush(t.Context())
		two.Flush(t.Context())
		known, err := pace.Recall(t.Context(), store, pace.DefaultRate, time.Now())
		if err != nil || known[rotate.CreateAccessKey] < 4 || known[rotate.DeleteAccessKey] < 4 {
			t.Errorf("Recall() = %v, %v, want both actions", known, err)
		}
	})
}

// A limit that falls, because another program uses it up, is followed at once,
// and again when it is back.
func TestALimitThatChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &account{latency: 50 * time.Millisecond, limit: each(10, 5)}
		b := &pace.Budget{Most: 20}
		a.crowd(t, b, rotate.CreateAccessKey, 600)
		a.limit = each(1, 5)
		a.reset()
		a.crowd(t, b, rotate.CreateAccessKey, 60)
		if n := a.refused[rotate.CreateAccessKey]; n > 20 {
			t.Errorf("%d calls were refused until the new limit was found, want at most 20", n)
		}
		a.limit = each(10, 5)
		if took := a.crowd(t, b, rotate.CreateAccessKey, 6000); took > 25*time.Minute {
			t.Errorf("6,000 calls after the limit is back took %s, want at most 25 min (10 at the limit)", took)
		}
	})
}

// For some minutes AWS refuses everything. Then the rate is soon what it was.
func TestABlackout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &account{latency: 50 * time.Millisecond, limit: each(10, 10)}
		b := &pace.Budget{}
		a.crowd(t, b, rotate.CreateAccessKey, 300)
		a.dark = true
		a.reset()
		time.AfterFunc(5*time.Minute, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.dark = false
		})
		took := a.crowd(t, b, rotate.CreateAccessKey, 300) - 5*time.Minute
		if took > time.Minute {
			t.Errorf("300 calls took %s from the end of the blackout, want at most 1 min (30 s at the limit)", took)
		}
		if n := a.refused[rotate.CreateAccessKey]; n > 100 {
			t.Errorf("%d calls were made in vain, want at most 100 in 5 min", n)
		}
	})
}

// Actions have buckets of their own: a crowd of creations delays no deactivation.
func TestCreationsDelayNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &account{limit: each(10, 10)}
		b := &pace.Budget{}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { _ = a.call(ctx, b, rotate.CreateAccessKey) })
		}
		time.Sleep(10 * time.Second)
		for _, c := range []rotate.Call{rotate.UpdateAccessKey, rotate.DeleteAccessKey} {
			start := time.Now()
			if err := a.call(t.Context(), b, c); err != nil || time.Since(start) > 0 {
				t.Errorf("%s beside 500 creations took %s, %v, want no time", c, time.Since(start), err)
			}
		}
		cancel()
		wg.Wait()
	})
}

// A call that is given up while it waits leaves its turn to the next.
func TestAWaitThatIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &pace.Budget{Most: 1, Burst: 1}
		if err := b.Wait(t.Context(), rotate.DeleteAccessKey); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := b.Wait(ctx, rotate.DeleteAccessKey); !errors.Is(err, context.Canceled) {
					t.Errorf("Wait() = %v, want %v", err, context.Canceled)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		wg.Go(func() {
			if err := b.Wait(t.Context(), rotate.DeleteAccessKey); err != nil || time.Since(start) > 3*time.Second {
				t.Errorf("the call behind 20 that were given up waited %s, %v, want 2 s", time.Since(start), err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

// While the rate is not what limits the calls, it is not tested.
func TestLittleUseTestsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &account{limit: each(1, 5)}
		b := &pace.Budget{}
		a.crowd(t, b, rotate.CreateAccessKey, 120)
		a.reset()
		for range 1800 {
			if err := a.call(t.Context(), b, rotate.CreateAccessKey); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		if n := a.refused[rotate.CreateAccessKey]; n > 0 {
			t.Errorf("%d calls were refused in an hour of little use, want none", n)
		}
		if r := b.Rate(rotate.CreateAccessKey); r > 1.1 {
			t.Errorf("the rate after an hour of little use is %.2f, want it as found: AWS allows 1", r)
		}
	})
}

// One bucket for all actions, should AWS have that too, is shared.
func TestABucketThatActionsShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := rate.NewLimiter(10, 10)
		a := &account{latency: 50 * time.Millisecond, limit: func(rotate.Call) *rate.Limiter { return all }}
		b := &pace.Budget{}
		var wg sync.WaitGroup
		start := time.Now()
		for _, c := range []rotate.Call{rotate.CreateAccessKey, rotate.UpdateAccessKey, rotate.DeleteAccessKey} {
			wg.Go(func() { a.crowd(t, b, c, 2000) })
		}
		wg.Wait()
		refused, accepted := 0, 0
		for c, n := range a.accepted {
			refused, accepted = refused+a.refused[c], accepted+n
		}
		if took := time.Since(start); took > 15*time.Minute || refused > accepted/20 {
			t.Errorf("6,000 calls of three actions took %s, %d refused; want at most 15 min (10 at the limit) and 5 %%", took, refused)
		}
	})
}

// A nil Budget is no limit.
func TestNoBudget(t *testing.T) {
	t.Parallel()
	var b *pace.Budget
	if err := b.Wait(t.Context(), rotate.CreateAccessKey); err != nil {
		t.Error(err)
	}
	b.Sent(rotate.CreateAccessKey)(true)
	b.Spend(rotate.CreateAccessKey)
	b.Flush(t.Context())
	if now, most := b.State(); now != 0 || most != 0 {
		t.Errorf("State() = %v, %v, want 0, 0", now, most)
	}
}
