package awsiam_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// More workers than the pace lets through within one call's deadline: waiting
// for the pace is no part of the call, and nobody fails.
func TestWaitingForThePaceFailsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		aws := &rotatetest.AWS{}
		for i := range 60 {
			aws.AddUser(fmt.Sprintf("user-%02d", i), "/", nil)
		}
		r := &rotate.Rotator{
			IAM: aws, Pace: &pace.Budget{Most: 1, Burst: 1}, Clock: rotatetest.Clock(), Store: &rotatetest.MemStore{}, Workers: 50,
			Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
		}
		rep, err := r.RunOnce(t.Context(), rotate.Options{Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range rep.Failed() {
			t.Errorf("user %s: %v", u.User, u.Err)
		}
	})
}

// Keys are deleted and made side by side, each at its own pace: the deletions of
// a crowd do not hold up its creations, nor the other way round.
func TestActionsOfACrowdShareNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const users, perSecond = 300, 10
		aws := &rotatetest.AWS{}
		for i := range users {
			aws.AddUser(fmt.Sprintf("user-%03d", i), "/", nil)
		}
		r := &rotate.Rotator{
			IAM: aws, Pace: &pace.Budget{Most: perSecond, Burst: 1}, Clock: rotatetest.Clock(), Store: &rotatetest.MemStore{}, Workers: 8,
			Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
		}
		var took time.Duration
		for range 3 { // in the third, each user has a key to delete before another one can be made
			time.Sleep(time.Hour)
			start := time.Now()
			if rep, err := r.RunOnce(t.Context(), rotate.Options{Patience: time.Minute}); err != nil || len(rep.Failed()) > 0 {
				t.Fatal(rep.Failed(), err)
			}
			took = time.Since(start)
		}
		if most := users/perSecond*time.Second + 20*time.Second; took > most {
			t.Errorf("%d rotations took %s, want at most %s: what the pace of one action allows, and the proof of the last key", users, took, most)
		}
	})
}
