package rotatetest

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestSettings checks that what open returns keeps the promises of
// [rotate.Settings]. open is called once for each subtest.
func TestSettings(t *testing.T, open func(t *testing.T) rotate.Settings) {
	for name, f := range map[string]func(*testing.T, rotate.Settings){
		"a setting is saved, changed and deleted": testSetting,
		"concurrent saves lose no update":         testConcurrentSettings,
		"names are listed by prefix":              testSettingNames,
		"callers and store share no memory":       testSettingIsolation,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t))
		})
	}
}

func mustSet(t *testing.T, s rotate.Settings, name, value string, version int64) int64 {
	t.Helper()
	v, err := s.SaveSetting(t.Context(), name, []byte(value), version)
	if err != nil {
		t.Fatalf("SaveSetting(%q, version %d): %v", name, version, err)
	}
	return v
}

func wantSetting(t *testing.T, s rotate.Settings, name, value string, version int64) {
	t.Helper()
	got, v, err := s.Setting(t.Context(), name)
	if err != nil || got == nil || string(got) != value || v != version {
		t.Errorf("Setting(%q) = %q, %d, %v, want %q, %d", name, got, v, err, value, version)
	}
}

func testSetting(t *testing.T, s rotate.Settings) {
	ctx := t.Context()
	_, _, err := s.Setting(ctx, "a")
	wantErr(t, "Setting of an unset name", err, rotate.ErrNotFound)
	_, err = s.SaveSetting(ctx, "a", []byte("x"), 7)
	wantErr(t, "SaveSetting of an unset name with a version", err, rotate.ErrConflict)

	v1 := mustSet(t, s, "a", "one", 0)
	wantSetting(t, s, "a", "one", v1)
	_, err = s.SaveSetting(ctx, "a", []byte("x"), 0)
	wantErr(t, "SaveSetting with version 0 over a setting", err, rotate.ErrConflict)
	v2 := mustSet(t, s, "a", "", v1)
	wantSetting(t, s, "a", "", v2)

	_, err = s.SaveSetting(ctx, "a", nil, v1)
	wantErr(t, "deleting with a version that is gone", err, rotate.ErrConflict)
	for _, call := range []string{"deleting", "deleting once more, as if the answer was lost"} {
		if _, err = s.SaveSetting(ctx, "a", nil, v2); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	_, _, err = s.Setting(ctx, "a")
	wantErr(t, "Setting of a deleted name", err, rotate.ErrNotFound)
	mustSet(t, s, "a", "again", 0)
	_, err = s.SaveSetting(ctx, "a", []byte("x"), v1)
	wantErr(t, "SaveSetting with a version from before the deletion", err, rotate.ErrConflict)
	_, err = s.SaveSetting(ctx, "a", nil, v2)
	wantErr(t, "deleting with a version from before the deletion", err, rotate.ErrConflict)
}

func testConcurrentSettings(t *testing.T, s rotate.Settings) {
	const workers, rounds = 8, 5
	mustSet(t, s, "n", "0", 0)
	increment := func() error {
		for {
			value, version, err := s.Setting(t.Context(), "n")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(value))
			if err != nil {
				return err
			}
			_, err = s.SaveSetting(t.Context(), "n", []byte(strconv.Itoa(n+1)), version)
			if !errors.Is(err, rotate.ErrConflict) {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if err := increment(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, _, err := s.Setting(t.Context(), "n"); err != nil || string(got) != strconv.Itoa(workers*rounds) {
		t.Errorf("after %d increments: %q, %v", workers*rounds, got, err)
	}
}

func testSettingNames(t *testing.T, s rotate.Settings) {
	for _, name := range []string{"key/b", "key/a", "key%", "other", "KEY/c"} {
		mustSet(t, s, name, name, 0)
	}
	for prefix, want := range map[string][]string{
		"key/": {"key/a", "key/b"},
		"key%": {"key%"},
		"none": nil,
		"":     {"KEY/c", "key%", "key/a", "key/b", "other"},
	} {
		got, err := s.SettingNames(t.Context(), prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("SettingNames(%q) = %q, %v, want %q", prefix, got, err, want)
		}
	}
}

func testSettingIsolation(t *testing.T, s rotate.Settings) {
	passed := []byte("value")
	v, err := s.SaveSetting(t.Context(), "a", passed, 0)
	if err != nil {
		t.Fatal(err)
	}
	passed[0] = 'X'
	got, _, err := s.Setting(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got[0] = 'Y'
	wantSetting(t, s, "a", "value", v)
}

// TestHandouts checks that what open returns keeps the promises of
// [rotate.Handouts]. open is called once for each subtest.
func TestHandouts(t *testing.T, open func(t *testing.T) rotate.Handouts) {
	t.Run("the latest hand-out counts", func(t *testing.T) {
		t.Parallel()
		testLatestHandout(t, open(t))
	})
	t.Run("history is kept for each caller", func(t *testing.T) {
		t.Parallel()
		testHandoutHistory(t, open(t))
	})
}

func mustHandOut(t *testing.T, s rotate.Handouts, caller, user, key, addr string, d time.Duration) {
	t.Helper()
	if err := s.RecordHandout(t.Context(), caller, user, key, addr, at(d)); err != nil {
		t.Fatalf("RecordHandout(%s, %s, %s): %v", caller, user, key, err)
	}
}

func testLatestHandout(t *testing.T, s rotate.Handouts) {
	check := func(user, key string, want ...string) {
		t.Helper()
		got, err := s.Holders(t.Context(), user, key)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Holders(%s, %s) = %v, %v, want %v", user, key, got, err, want)
		}
	}
	check("ann", "K1")
	mustHandOut(t, s, "web", "ann", "K1", "10.0.0.1", 0)
	mustHandOut(t, s, "ci", "ann", "K1", "10.0.0.2", 0)
	mustHandOut(t, s, "ci", "bob", "K9", "10.0.0.2", time.Second)
	check("ann", "K1", "ci", "web")
	mustHandOut(t, s, "ci", "ann", "K2", "10.0.0.2", 2*time.Second)
	check("ann", "K1", "web")
	check("ann", "K2", "ci")
	mustHandOut(t, s, "ci", "ann", "K1", "10.0.0.2", 3*time.Second)
	check("ann", "K1", "ci", "web")
	check("ann", "K2")
	check("bob", "K9", "ci")
	mustHandOut(t, s, "web", "ann", "K0", "10.0.0.1", -time.Second)
	check("ann", "K1", "ci", "web")
}

func testHandoutHistory(t *testing.T, s rotate.Handouts) {
	mustHandOut(t, s, "web", "ann", "K1", "10.0.0.1", 0)
	mustHandOut(t, s, "ci", "ann", "K1", "10.0.0.2", time.Minute)
	mustHandOut(t, s, "web", "ann", "K1", "10.0.0.3", time.Hour)
	mustHandOut(t, s, "web", "ann", "K2", "10.0.0.1", 2*time.Hour)
	want := []rotate.Handout{
		{Caller: "web", User: "ann", Key: "K1", Addr: "10.0.0.3", First: at(0), Last: at(time.Hour)},
		{Caller: "ci", User: "ann", Key: "K1", Addr: "10.0.0.2", First: at(time.Minute), Last: at(time.Minute)},
	}
	got, err := s.WhoHas(t.Context(), "K1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("WhoHas(K1) (-want +got):\n%s", d)
	}
	if got, err := s.WhoHas(t.Context(), "K3"); err != nil || len(got) != 0 {
		t.Errorf("WhoHas(K3) = %v, %v, want none", got, err)
	}
}
