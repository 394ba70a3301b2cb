package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestWavesStopWhenTheBudgetIsSpent enrols six users, of whom some have a key
// that keyrot did not create.
func TestWavesStopWhenTheBudgetIsSpent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name           string
		canary, budget int
		foreign        []int // users with a foreign key
		enrolled, code int
	}{
		{"everybody is taken on", 2, 0, nil, 6, 0},
		{"a canary fails and nobody follows", 2, 0, []int{1}, 1, 3},
		{"all canaries fail", 1, 0, []int{0}, 0, 2},
		{"the budget puts up with a canary that fails", 2, 1, []int{1}, 5, 3},
		{"without canaries all are one wave", 0, 0, []int{0}, 5, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, _, errs := testEnv(t, nil)
			e.Now = time.Now
			cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s"}})
			if err != nil {
				t.Fatal(err)
			}
			fake := &rotatetest.AWS{}
			var names []string
			for i := range 6 {
				names = append(names, fake.AddUser(fmt.Sprintf("u%d", i), "/", nil).Name)
			}
			for _, i := range tc.foreign {
				if _, err := fake.Plant(names[i]); err != nil {
					t.Fatal(err)
				}
			}
			s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: func(context.Context) ([]rotate.User, error) { return fake.Users(), nil }})
			if err != nil {
				t.Fatal(err)
			}
			err = e.inWaves(t.Context(), usersOptions{Canary: tc.canary, Budget: tc.budget, Wait: time.Minute}, s, names)
			entries, lerr := s.store.List(t.Context())
			if exitCode(err) != tc.code || len(entries) != tc.enrolled {
				t.Errorf("inWaves() = %v (%d), %d enrolled, want %d and %d", err, exitCode(err), len(entries), tc.code, tc.enrolled)
			}
			if stopped := strings.Contains(errs.String(), "stopping before"); stopped != (tc.enrolled+len(tc.foreign) < 6) {
				t.Errorf("told: %q", errs)
			}
			if err := errors.Join(lerr, s.close(t.Context())); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A user that has left the selection is not enrolled, even if steps for it are
// still under way, and each user is looked at only when its turn is reported.
func TestEnrollLooksAtNobodyTwice(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv(t, nil)
	e.Now = time.Now
	cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s", "users.all": true}})
	if err != nil {
		t.Fatal(err)
	}
	fake := &rotatetest.AWS{}
	for i := range 7 {
		fake.AddUser(fmt.Sprintf("u%d", i), "/", nil)
	}
	left := ""
	selected := func(context.Context) ([]rotate.User, error) {
		return slices.DeleteFunc(fake.Users(), func(u rotate.User) bool { return u.Name == left }), nil
	}
	s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: selected})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.rotator.RunOnce(t.Context(), rotate.Options{Users: []string{"u0"}, Patience: time.Minute}); err != nil {
		t.Fatal(err)
	}
	left = "u0"
	lists, looks := fake.Calls(rotatetest.ListKeys), fake.Calls(rotatetest.GetUser)
	if err := e.enroll(t.Context(), usersOptions{Wait: time.Minute}, s, cfg); err != nil {
		t.Errorf("enroll() = %v", err)
	}
	lists, looks = fake.Calls(rotatetest.ListKeys)-lists, fake.Calls(rotatetest.GetUser)-looks
	if lists > 2*6 || looks > 6 {
		t.Errorf("enrolling 6 users took %d lists of keys and %d looks at users, want 12 and 6", lists, looks)
	}
	entries, err := s.store.List(t.Context())
	if len(entries) != 7 {
		t.Errorf("%d users are enrolled, want 7", len(entries))
	}
	if err := errors.Join(err, s.close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestProgressIsToldEveryTenSeconds(t *testing.T) {
	t.Parallel()
	e, _, errs := testEnv(t, nil)
	synctest.Test(t, func(t *testing.T) {
		p := rotate.NewProgress(500)
		stop := e.showProgress("enrolled", p)
		time.Sleep(9 * time.Second)
		p.Add(100)
		time.Sleep(time.Second + time.Millisecond)
		p.Add(400)
		stop()
	})
	want := "keyrot: enrolled 100 of 500, 40s left\nkeyrot: enrolled 500 of 500\n"
	if errs.String() != want {
		t.Errorf("told %q, want %q", errs, want)
	}
}
