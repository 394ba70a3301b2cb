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
