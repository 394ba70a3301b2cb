package rotatetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func create(t *testing.T, a *rotatetest.AWS, user string) (plan.Key, rotate.Secret) {
	t.Helper()
	k, s, err := a.Create(t.Context(), user)
	if err != nil {
		t.Fatalf("Create(%s): %v", user, err)
	}
	return k, s
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestPerfectAWS(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := &rotatetest.AWS{Now: func() time.Time { return time.Unix(1000, 999) }}
	u := a.AddUser("u", "/p/", nil)
	k1, s1 := create(t, a, "u")
	if !k1.Created.Equal(time.Unix(1000, 0)) {
		t.Errorf("Created = %v, want whole seconds", k1.Created)
	}
	wantErr(t, "Verify", a.Verify(ctx, u, k1.ID, s1), nil)
	wantErr(t, "Verify with another secret", a.Verify(ctx, u, k1.ID, rotate.NewSecret("x")), rotate.ErrRefused)
	k2, s2 := create(t, a, "u")
	wantErr(t, "SetStatus", a.SetStatus(ctx, "u", k2.ID, plan.Inactive), nil)
	wantErr(t, "Use of an inactive key", a.Use(k2.ID, s2.Reveal()), rotate.ErrRefused)
	_, _, err := a.Create(ctx, "u")
	wantErr(t, "Create of a third key", err, rotate.ErrLimit)
	wantErr(t, "DeleteUser with keys", a.DeleteUser("u"), rotatetest.ErrDeleteConflict)
	wantErr(t, "Delete", a.Delete(ctx, "u", k2.ID), nil)
	wantErr(t, "Delete again", a.Delete(ctx, "u", k2.ID), nil)
	wantErr(t, "SetStatus of a deleted key", a.SetStatus(ctx, "u", k2.ID, plan.Active), rotate.ErrNoKey)
	if got := a.Working("u"); !slices.Equal(got, []string{k1.ID}) {
		t.Errorf("Working = %v, want %v", got, k1.ID)
	}
	last, err := a.LastUsed(ctx, k1.ID)
	if err != nil || !last.Equal(time.Unix(1000, 0)) {
		t.Errorf("LastUsed = %v, %v", last, err)
	}
	_, err = a.LastUsed(ctx, k2.ID)
	wantErr(t, "LastUsed of a deleted key", err, rotate.ErrNoKey)
	_ = a.Delete(ctx, "u", k1.ID)
	wantErr(t, "DeleteUser", a.DeleteUser("u"), nil)
	_, err = a.Keys(ctx, "u")
	wantErr(t, "Keys of nobody", err, rotate.ErrNoUser)
	if again := a.AddUser("u", "", nil); again.ID == u.ID {
		t.Error("a user created again has the old id")
	}
}

func TestVerifyRefusesAnotherUsersKey(t *testing.T) {
	t.Parallel()
	a := &rotatetest.AWS{}
	a.AddUser("u", "", nil)
	other := a.AddUser("v", "", nil)
	k, s := create(t, a, "u")
	err := a.Verify(t.Context(), other, k.ID, s)
	if err == nil || errors.Is(err, rotate.ErrRefused) {
		t.Errorf("Verify = %v, want an error that is not ErrRefused", err)
	}
}

func TestChangesSpreadSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		slow := rotatetest.Delay{Min: 4 * time.Second, Max: 4 * time.Second, Flap: 10 * time.Second}
		a := &rotatetest.AWS{Seed: 1, NewKey: slow, OldKey: slow, List: slow, Quota: slow, Usage: slow}
		a.AddUser("u", "", nil)
		k, s := create(t, a, "u")
		if list, _ := a.Keys(ctx, "u"); len(list) != 0 {
			t.Errorf("Keys = %v at once, want none yet", list)
		}
		wantErr(t, "Use at once", a.Use(k.ID, s.Reveal()), rotate.ErrRefused)
		for range 7 {
			create(t, a, "u") // the quota has not noticed
		}
		time.Sleep(5 * time.Second)
		ok := 0
		for range 200 {
			if a.Use(k.ID, s.Reveal()) == nil {
				ok++
			}
		}
		if ok < 60 || ok > 140 {
			t.Errorf("%d of 200 uses accepted while flapping, want about half", ok)
		}
		if slices.Contains(a.Working("u"), k.ID) || !slices.Contains(a.Alive("u"), k.ID) {
			t.Errorf("Working, Alive = %v, %v while flapping", a.Working("u"), a.Alive("u"))
		}
		time.Sleep(10 * time.Second)
		if list, _ := a.Keys(ctx, "u"); len(list) != 8 {
			t.Errorf("%d keys listed, want 8", len(list))
		}
		_ = a.Delete(ctx, "u", k.ID)
		wantErr(t, "Use just after the deletion", a.Use(k.ID, s.Reveal()), nil)
		if list, _ := a.Keys(ctx, "u"); len(list) != 8 {
			t.Errorf("%d keys listed just after a deletion, want 8", len(list))
		}
		if got := len(a.Truth("u")); got != 7 {
			t.Errorf("Truth has %d keys, want 7", got)
		}
		time.Sleep(15 * time.Second)
		wantErr(t, "Use later", a.Use(k.ID, s.Reveal()), rotate.ErrRefused)
		if list, _ := a.Keys(ctx, "u"); len(list) != 7 {
			t.Errorf("%d keys listed later, want 7", len(list))
		}
	})
}

func TestLastUsedIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &rotatetest.AWS{Usage: rotatetest.Delay{Min: time.Hour}}
		a.AddUser("u", "", nil)
		k, s := create(t, a, "u")
		used := time.Now().Truncate(time.Second)
		wantErr(t, "Use", a.Use(k.ID, s.Reveal()), nil)
		if at, _ := a.LastUsed(t.Context(), k.ID); !at.IsZero() {
			t.Errorf("LastUsed = %v at once, want never", at)
		}
		time.Sleep(time.Hour)
		if at, _ := a.LastUsed(t.Context(), k.ID); !at.Equal(used) {
			t.Errorf("LastUsed = %v an hour later, want %v", at, used)
		}
	})
}

func TestFaultBeforeAndAfter(t *testing.T) {
	t.Parallel()
	var next rotatetest.Fault
	a := &rotatetest.AWS{Fault: func(rotatetest.Op, string, string) rotatetest.Fault { return next }}
	a.AddUser("u", "", nil)
	for fault, want := range map[rotatetest.Fault]int{rotatetest.Before: 0, rotatetest.After: 1} {
		next = fault
		before := len(a.Truth("u"))
		k, s, err := a.Create(t.Context(), "u")
		wantErr(t, "Create", err, rotatetest.ErrConnection)
		if k.ID != "" || !s.IsZero() {
			t.Errorf("Create with fault %d leaks its answer", fault)
		}
		if got := len(a.Truth("u")) - before; got != want {
			t.Errorf("Create with fault %d made %d keys, want %d", fault, got, want)
		}
	}
}

func TestTroubleInSpells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, start := t.Context(), time.Now()
		at := func(m int) time.Time { return start.Add(time.Duration(m) * time.Minute) }
		a := &rotatetest.AWS{Spells: []rotatetest.Spell{
			{From: at(1), To: at(2), IAM: true},
			{From: at(2), To: at(3), IAM: true, Err: rotate.ErrThrottled},
			{From: at(3), To: at(4), STS: true},
		}}
		u := a.AddUser("u", "", nil)
		k, s := create(t, a, "u")
		for minute, want := range []struct{ iam, sts error }{
			{nil, nil}, {rotatetest.ErrDown, nil}, {rotate.ErrThrottled, nil}, {nil, rotatetest.ErrDown}, {nil, nil},
		} {
			_, err := a.Keys(ctx, "u")
			wantErr(t, "Keys", err, want.iam)
			wantErr(t, "Verify", a.Verify(ctx, u, k.ID, s), want.sts)
			wantErr(t, "Use", a.Use(k.ID, s.Reveal()), nil)
			time.Sleep(time.Until(at(minute + 1)))
		}
		if got := a.Calls(rotatetest.CallerIdentity); got != 5 {
			t.Errorf("Calls = %d, want 5", got)
		}
	})
}

func TestThrottleRefills(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &rotatetest.AWS{Throttle: rotatetest.Bucket{PerSecond: 1, Burst: 2}}
		a.AddUser("u", "", nil)
		for i, want := range []error{nil, nil, rotate.ErrThrottled} {
			_, err := a.Keys(t.Context(), "u")
			if !errors.Is(err, want) {
				t.Errorf("call %d = %v, want %v", i, err, want)
			}
		}
		time.Sleep(time.Second)
		_, err := a.Keys(t.Context(), "u")
		wantErr(t, "Keys a second later", err, nil)
	})
}

func TestLateEffect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &rotatetest.AWS{Late: 1, LateBy: rotatetest.Delay{Min: time.Minute}}
		a.AddUser("u", "", nil)
		_, _, err := a.Create(t.Context(), "u")
		wantErr(t, "Create", err, context.DeadlineExceeded)
		if got := a.Truth("u"); len(got) != 0 {
			t.Errorf("Truth = %v at once, want none", got)
		}
		due := time.Now().Add(time.Minute)
		time.Sleep(2 * time.Minute)
		if got := a.Truth("u"); len(got) != 1 || !got[0].Created.Equal(due.Truncate(time.Second)) {
			t.Errorf("Truth = %v later, want one key created at %v", got, due)
		}
	})
}

func TestGivingUpLosesTheReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for patience, want := range map[time.Duration]int{3 * time.Second: 0, 7 * time.Second: 1} {
			a := &rotatetest.AWS{Latency: rotatetest.Delay{Min: 10 * time.Second}, Sleep: sleep}
			a.AddUser("u", "", nil)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_, _, err := a.Create(ctx, "u")
			cancel()
			wantErr(t, "Create", err, context.DeadlineExceeded)
			if got := len(a.Truth("u")); got != want {
				t.Errorf("patience %s: %d keys, want %d", patience, got, want)
			}
		}
	})
}

// Two users' calls in either order: the same keys, the same fates.
func TestSeedDecidesWhateverTheOrder(t *testing.T) {
	t.Parallel()
	run := func(seed uint64, order ...string) map[string]string {
		a := &rotatetest.AWS{Seed: seed, Errors: 0.3, Lost: 0.3, Now: func() time.Time { return time.Unix(7, 0) }}
		for _, u := range order {
			a.AddUser(u, "", nil)
		}
		got := map[string]string{}
		for range 2 {
			for _, u := range order {
				_, _, err := a.Create(t.Context(), u)
				for _, k := range a.Truth(u) {
					got[u] += k.ID + " "
				}
				if err != nil {
					got[u] += err.Error()
				}
			}
		}
		return got
	}
	one, two, other := run(1, "u", "v"), run(1, "v", "u"), run(2, "u", "v")
	for _, u := range []string{"u", "v"} {
		if one[u] != two[u] {
			t.Errorf("user %s: %q in one order, %q in the other", u, one[u], two[u])
		}
		if one[u] == other[u] {
			t.Errorf("user %s: %q with any seed", u, one[u])
		}
	}
}
