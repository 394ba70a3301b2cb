package rotate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// A daemon begins with the selection that another process kept, while it reads
// its own: but only if it selects by the same rule, and nobody new.
func TestDaemonBeginsWithTheKeptSelection(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, rule string
		pause      time.Duration
		before     bool // the reading ends, is somebody rotated
	}{
		{"the same rule", "a", 11 * time.Minute, true},
		{"another rule", "b", 11 * time.Minute, false},
		{"a long time ago", "a", 2 * time.Hour, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			aws, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
			aws.AddUser("ann", "/", nil)
			reading := time.Duration(0)
			daemon := func(rule string) *rotate.Rotator {
				return &rotate.Rotator{
					IAM: aws, Store: store, Settings: store, Rule: rule, Clock: rotatetest.Clock(), ProofGap: -1, Owner: time.Now().String(),
					Policy: func(string) plan.Policy { return plan.Policy{Settle: -1} },
					Select: func(ctx context.Context) ([]rotate.User, error) {
						t := time.NewTimer(reading)
						defer t.Stop()
						select {
						case <-ctx.Done():
							return nil, ctx.Err()
						case <-t.C:
							return aws.Users(), nil
						}
					},
				}
			}
			run := func(r *rotate.Rotator, d time.Duration) {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				if err := r.Run(ctx); err != nil {
					t.Fatal(err)
				}
			}
			run(daemon("a"), 30*time.Second)
			aws.AddUser("bob", "/", nil)
			time.Sleep(tc.pause)
			reading = 3 * time.Minute
			created := aws.Calls(rotatetest.CreateKey)
			run(daemon(tc.rule), 2*time.Minute)
			if got := aws.Calls(rotatetest.CreateKey) > created; got != tc.before {
				t.Errorf("%s: rotated before the selection was read: %t, want %t", tc.name, got, tc.before)
			}
			if n := len(aws.Working("bob")); n > 0 {
				t.Errorf("%s: a user that was never selected has %d keys", tc.name, n)
			}
			run(daemon(tc.rule), 5*time.Minute)
			if len(aws.Working("bob")) == 0 {
				t.Errorf("%s: the new user has no key once the selection is read", tc.name)
			}
		})
	}
}

func TestAPassThatStopsSaysWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		aws, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
		aws.Latency = rotatetest.Delay{Min: time.Second, Max: time.Second}
		aws.Sleep = func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(d):
				return nil
			}
		}
		for _, u := range []string{"a", "b", "c", "d", "e", "f"} {
			aws.AddUser(u, "/", nil)
		}
		r := &rotate.Rotator{
			IAM: aws, Store: store, Clock: rotatetest.Clock(), ProofGap: -1, Workers: 1,
			Policy: func(string) plan.Policy { return plan.Policy{Settle: -1} },
			Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		rep, err := r.RunOnce(ctx, rotate.Options{})
		if err != nil || !strings.Contains(rep.Stopped, "of 6 users") {
			t.Errorf("RunOnce = %q, %v, want how far it came", rep.Stopped, err)
		}
		for _, u := range rep.Users {
			if u.User == "" {
				t.Error("the report has a user without a name")
			}
		}
		if rep, err := r.RunOnce(t.Context(), rotate.Options{}); err != nil || rep.Stopped != "" || len(rep.Users) != 6 {
			t.Errorf("RunOnce = %q, %v, %d users, want all 6", rep.Stopped, err, len(rep.Users))
		}
	})
}

// Names that IAM does not know stop an operator, not a pass that nobody watches.
func TestUnattendedPassesGoOnWithoutTheUnknown(t *testing.T) {
	t.Parallel()
	aws, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
	aws.AddUser("ann", "/", nil)
	r := &rotate.Rotator{
		IAM: aws, Store: store, Settings: store, Clock: rotatetest.Clock(), ProofGap: -1,
		Policy: func(string) plan.Policy { return plan.Policy{Settle: -1} },
		Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), rotate.ErrNoUser },
	}
	if _, err := r.RunOnce(t.Context(), rotate.Options{}); !errors.Is(err, rotate.ErrNoUser) {
		t.Errorf("RunOnce = %v, want %v", err, rotate.ErrNoUser)
	}
	for range 2 { // the second one begins with what the first one read
		if rep, err := r.RunOnce(t.Context(), rotate.Options{Unattended: true}); err != nil || len(rep.Failed()) > 0 || len(aws.Working("ann")) != 1 {
			t.Errorf("RunOnce unattended = %+v, %v, want the known user rotated", rep, err)
		}
	}
}

// mute is a Settings that does not answer until its callers give up.
type mute struct{ *rotatetest.MemStore }

func (mute) Setting(ctx context.Context, _ string) ([]byte, int64, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func (mute) SaveSetting(ctx context.Context, _ string, _ []byte, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// A daemon whose question after the kept selection is never answered, and whose
// selection cannot be read at first, rotates as soon as that can be read.
func TestAnAnswerThatIsLostStopsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		aws, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
		aws.AddUser("ann", "/", nil)
		asked := 0
		r := &rotate.Rotator{
			IAM: aws, Store: store, Settings: mute{store}, Rule: "a", Clock: rotatetest.Clock(), ProofGap: -1,
			Policy: func(string) plan.Policy { return plan.Policy{Settle: -1} },
			Select: func(context.Context) ([]rotate.User, error) {
				if asked++; asked == 1 {
					return nil, errors.New("AWS cannot be reached")
				}
				return aws.Users(), nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(aws.Working("ann")) == 0 {
			t.Errorf("after a minute and %d readings of the selection the user has no key", asked)
		}
	})
}
