package rotatetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// epoch is when the suites' stories begin; the nanoseconds must survive.
var epoch = time.Date(2026, 11, 23, 18, 0, 0, 123456789, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

// TestStore checks that what open returns keeps the promises of [rotate.Store].
// open is called once for each subtest and returns an empty store.
func TestStore(t *testing.T, open func(t *testing.T) rotate.Store) {
	for name, f := range map[string]func(*testing.T, rotate.Store){
		"an entry comes back whole":            testRoundTrip,
		"an unknown user is not found":         testUnknown,
		"a save needs the stored version":      testCAS,
		"concurrent saves lose no update":      testConcurrentSaves,
		"versions are not reused":              testVersionsNotReused,
		"remove needs the stored version":      testRemove,
		"a repeated removal succeeds":          testRepeatedRemoval,
		"list is ordered and has no secrets":   testList,
		"changes are what was saved since":     testChanges,
		"due is ordered and limited":           testDue,
		"due for a key only is told apart":     testDueForAKey,
		"callers and store share no memory":    testIsolation,
		"a lease keeps others out":             testLease,
		"a lease ends by the caller's clock":   testLeaseExpiry,
		"one of many acquires a lease":         testConcurrentLease,
		"a lease stands beside an entry":       testLeaseBesideSaves,
		"a refused save leaves the old secret": testConflictKeepsSecret,
		"names are taken literally":            testNames,
		"a cancelled context changes nothing":  testCancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t))
		})
	}
}

// entry returns an entry with every field of the record filled in.
func entry(user string) rotate.Entry {
	return rotate.Entry{
		Record: plan.Record{
			User: user, UserID: "AIDA" + user, ARN: "arn:aws:iam::123456789012:user/" + user,
			Enrolled: at(0), Slot: at(time.Minute),
			Keys: []plan.Held{
				{ID: "AKIA1" + user, Stage: plan.Previous, Slot: at(0), Created: at(0), Made: at(1), HeldBy: []string{"ci"}},
				{ID: "AKIA2" + user, Stage: plan.Current, Slot: at(time.Minute), Promise: at(time.Hour)},
			},
			Intents: []plan.Intent{{ID: "i1", At: at(2), Until: at(3), Slot: at(4), Seen: []string{"AKIA1" + user}}},
			Gone:    []plan.Tombstone{{ID: "AKIA0", At: at(5)}},
			Foreign: []string{"AKIAX"},
			Targets: []plan.Target{{Name: "ssm", KeyID: "AKIA1" + user, Until: at(time.Hour), At: at(2), Again: at(3), Tries: 1, Error: "down"}},
			Order:   &plan.Order{Kind: plan.Force, At: at(6), By: "root", Lost: []string{"AKIAL"}},
			Pause:   &plan.Pause{Since: at(7), Reason: "freeze"},
			Waiting: plan.NoRoom, Since: at(8), Failures: 3, RetryAt: at(9), Error: "throttled",
		},
		Secrets: map[string]rotate.Secret{
			"AKIA1" + user: rotate.NewSecret("first/secret+of " + user),
			"AKIA2" + user: rotate.NewSecret("second/secret+of " + user),
		},
		Due: at(10 * time.Minute),
	}
}

func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b rotate.Secret) bool { return a.Reveal() == b.Reveal() }))
}

func mustSave(t *testing.T, s rotate.Store, e rotate.Entry) rotate.Entry {
	t.Helper()
	v, err := s.Save(t.Context(), e)
	if err != nil {
		t.Fatalf("Save(%q, version %d): %v", e.Record.User, e.Version, err)
	}
	if v == 0 || v == e.Version {
		t.Fatalf("Save(%q, version %d) = version %d, want a new one", e.Record.User, e.Version, v)
	}
	e.Version = v
	return e
}

func mustLoad(t *testing.T, s rotate.Store, user string) rotate.Entry {
	t.Helper()
	e, err := s.Load(t.Context(), user)
	if err != nil {
		t.Fatalf("Load(%q): %v", user, err)
	}
	return e
}

func wantErr(t *testing.T, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", call, got, want)
	}
}

func testRoundTrip(t *testing.T, s rotate.Store) {
	want := mustSave(t, s, entry("ann"))
	if d := diff(want, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("after the first save (-want +got):\n%s", d)
	}
	want.Record.Keys = want.Record.Keys[1:]
	delete(want.Secrets, "AKIA1ann")
	want.Secrets["AKIA3"] = rotate.NewSecret("third")
	want.Record.Order, want.Record.Pause, want.Due = nil, nil, time.Time{}
	want = mustSave(t, s, want)
	if d := diff(want, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("after the second save (-want +got):\n%s", d)
	}
}

func testUnknown(t *testing.T, s rotate.Store) {
	_, err := s.Load(t.Context(), "nobody")
	wantErr(t, "Load of an unknown user", err, rotate.ErrNotFound)
	if _, err := s.Save(t.Context(), rotate.Entry{}); err == nil {
		t.Error("Save of a record without a user succeeded")
	}
	if l, err := s.List(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("List of an empty store = %v, %v", l, err)
	}
}

func testCAS(t *testing.T, s rotate.Store) {
	e := entry("ann")
	e.Version = 7
	_, err := s.Save(t.Context(), e)
	wantErr(t, "Save of a new entry with a version", err, rotate.ErrConflict)
	e.Version = 0
	first := mustSave(t, s, e)
	_, err = s.Save(t.Context(), e)
	wantErr(t, "Save with version 0 over an entry", err, rotate.ErrConflict)
	mustSave(t, s, first)
	_, err = s.Save(t.Context(), first)
	wantErr(t, "Save with a version that is gone", err, rotate.ErrConflict)
}

func testConcurrentSaves(t *testing.T, s rotate.Store) {
	const workers, rounds = 8, 5
	e := entry("ann")
	e.Record.Failures = 0
	mustSave(t, s, e)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if err := increment(t, s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := mustLoad(t, s, "ann").Record.Failures; got != workers*rounds {
		t.Errorf("after %d increments: %d", workers*rounds, got)
	}
}

func increment(t *testing.T, s rotate.Store) error {
	for {
		e, err := s.Load(t.Context(), "ann")
		if err != nil {
			return err
		}
		e.Record.Failures++
		_, err = s.Save(t.Context(), e)
		if !errors.Is(err, rotate.ErrConflict) {
			return err
		}
	}
}

func testVersionsNotReused(t *testing.T, s rotate.Store) {
	stale := mustSave(t, s, entry("ann"))
	if err := s.Remove(t.Context(), "ann", stale.Version); err != nil {
		t.Fatal(err)
	}
	mustSave(t, s, entry("ann"))
	_, err := s.Save(t.Context(), stale)
	wantErr(t, "Save with a version from before Remove", err, rotate.ErrConflict)
}

func testRemove(t *testing.T, s rotate.Store) {
	old := mustSave(t, s, entry("ann"))
	e := mustSave(t, s, old)
	mustSave(t, s, entry("bob"))
	wantErr(t, "Remove with an old version", s.Remove(t.Context(), "ann", old.Version), rotate.ErrConflict)
	mustLoad(t, s, "ann")
	if err := s.Remove(t.Context(), "ann", e.Version); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	_, err := s.Load(t.Context(), "ann")
	wantErr(t, "Load after Remove", err, rotate.ErrNotFound)
	if due, err := s.Due(t.Context(), at(time.Hour), false, 10); err != nil || !slices.Equal(due, []string{"bob"}) {
		t.Errorf("Due after Remove = %v, %v, want [bob]", due, err)
	}
}

// testRepeatedRemoval removes as a caller does that never got the answer.
func testRepeatedRemoval(t *testing.T, s rotate.Store) {
	e := mustSave(t, s, entry("ann"))
	for _, call := range []string{"Remove", "Remove once more"} {
		if err := s.Remove(t.Context(), "ann", e.Version); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	fresh := mustSave(t, s, entry("ann"))
	wantErr(t, "Remove with a version from before Remove", s.Remove(t.Context(), "ann", e.Version), rotate.ErrConflict)
	if d := diff(fresh, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("after a refused removal (-want +got):\n%s", d)
	}
}

func testList(t *testing.T, s rotate.Store) {
	var want []rotate.Entry
	for _, user := range []string{"cyd", "ann", "Bob"} {
		e := mustSave(t, s, entry(user))
		e.Secrets = nil
		want = append(want, e)
	}
	slices.SortFunc(want, func(a, b rotate.Entry) int {
		return slices.Compare([]byte(a.Record.User), []byte(b.Record.User))
	})
	got, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if len(got[i].Secrets) != 0 {
			t.Errorf("List()[%d] has secrets", i)
		}
	}
	if d := diff(want, got); d != "" {
		t.Errorf("List (-want +got):\n%s", d)
	}
}

func testDue(t *testing.T, s rotate.Store) {
	for i, due := range []time.Time{at(3), at(1), {}, at(2), at(2), at(time.Hour)} {
		e := entry(fmt.Sprintf("u%d", i))
		e.Due = due
		mustSave(t, s, e)
	}
	for _, c := range []struct {
		t     time.Time
		limit int
		want  []string
	}{
		{at(0), 10, []string{"u2"}},
		{at(2), 10, []string{"u2", "u1", "u3", "u4"}},
		{at(2), 3, []string{"u2", "u1", "u3"}},
		{at(2), 0, nil},
		{at(time.Hour), 10, []string{"u2", "u1", "u3", "u4", "u0", "u5"}},
	} {
		got, err := s.Due(t.Context(), c.t, false, c.limit)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Due(%s, %d) = %v, %v, want %v", c.t.Sub(epoch), c.limit, got, err, c.want)
		}
	}
}

// testDueForAKey has users who wait for nothing but a new key apart from others.
func testDueForAKey(t *testing.T, s rotate.Store) {
	for i, creates := range []bool{true, false, true, false} {
		e := entry(fmt.Sprintf("u%d", i))
		e.Due, e.Creates = at(time.Duration(4-i)), creates
		mustSave(t, s, e)
	}
	e := mustLoad(t, s, "u0")
	if e.Creates = false; !mustLoad(t, s, "u2").Creates {
		t.Error("Load = not Creates, want as saved")
	}
	mustSave(t, s, e)
	for creates, want := range map[bool][]string{true: {"u2"}, false: {"u3", "u1", "u0"}} {
		if got, err := s.Due(t.Context(), at(time.Hour), creates, 10); err != nil || !slices.Equal(got, want) {
			t.Errorf("Due(%t) = %v, %v, want %v", creates, got, err, want)
		}
	}
}

func testIsolation(t *testing.T, s rotate.Store) {
	spoil := func(e rotate.Entry) {
		e.Record.Keys[0].ID = "spoilt"
		e.Record.Keys[0].HeldBy[0] = "spoilt"
		e.Record.Intents[0].Seen[0] = "spoilt"
		e.Record.Gone[0].ID = "spoilt"
		e.Record.Foreign[0] = "spoilt"
		e.Record.Order.By = "spoilt"
		e.Record.Order.Lost[0] = "spoilt"
		e.Record.Pause.By = "spoilt"
		if e.Secrets != nil {
			e.Secrets["spoilt"] = rotate.NewSecret("spoilt")
		}
	}
	passed := entry("ann")
	want := entry("ann")
	want.Version = mustSave(t, s, passed).Version
	spoil(passed)
	loaded := mustLoad(t, s, "ann")
	if d := diff(want, loaded); d != "" {
		t.Errorf("after changing what was passed (-want +got):\n%s", d)
	}
	spoil(loaded)
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spoil(list[0])
	if d := diff(want, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("after changing what was returned (-want +got):\n%s", d)
	}
}

func testConflictKeepsSecret(t *testing.T, s rotate.Store) {
	first := mustSave(t, s, entry("ann"))
	want := mustSave(t, s, first)
	first.Secrets = nil
	_, err := s.Save(t.Context(), first)
	wantErr(t, "Save with a version that is gone", err, rotate.ErrConflict)
	if d := diff(want, mustLoad(t, s, "ann")); d != "" {
		t.Errorf("after a refused save (-want +got):\n%s", d)
	}
}
