package doctor

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// A daemon rotates at short intervals while the doctor looks, again and again,
// with some time between its list of keys and its look into the store: it never
// takes a key of keyrot's for somebody else's.
func TestKeysInFlightAreNotForeign(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		aws, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
		for _, u := range []string{"ann", "bob", "cy"} {
			aws.AddUser(u, "/", nil)
		}
		policy := func(string) plan.Policy {
			return plan.Policy{RotateEvery: 20 * time.Second, DeactivateAfter: 24 * time.Second, DeleteAfter: 30 * time.Second, Settle: -1}
		}
		// A quarter of the calls that create a key lose their answer.
		var n atomic.Int64
		aws.Change(func(a *rotatetest.AWS) {
			a.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
				if op != rotatetest.CreateKey {
					return rotatetest.None
				}
				if n.Add(1)%4 == 0 {
					return rotatetest.After
				}
				return rotatetest.None
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		r := &rotate.Rotator{
			IAM: aws, Store: store, Policy: policy, Clock: rotatetest.Clock(), ProofGap: -1,
			Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
		}
		go func() { defer close(done); _ = r.Run(ctx) }()
		p := Patient{IAM: aws, Policy: policy, Entries: func(ctx context.Context) ([]rotate.Entry, error) {
			time.Sleep(300 * time.Millisecond)
			entries, err := store.List(ctx)
			time.Sleep(1700 * time.Millisecond)
			return entries, err
		}}
		users := aws.Users()
		for range 400 {
			p.keys(ctx, users, func(check string, s Status, fix, format string, args ...any) {
				if check != "foreign keys" || s != OK {
					t.Errorf("after %d creations: %s %s: "+format, append([]any{n.Load(), s, check}, args...)...)
				}
			})
			time.Sleep(330 * time.Millisecond)
		}
		cancel()
		<-done
		if n.Load() < 40 {
			t.Errorf("only %d keys were created; nothing was in flight", n.Load())
		}
	})
}

func TestForeignKeysWithoutAStore(t *testing.T) {
	t.Parallel()
	aws := &rotatetest.AWS{}
	aws.AddUser("ci", "/", nil)
	if _, err := aws.Plant("ci"); err != nil {
		t.Fatal(err)
	}
	told := 0
	(Patient{IAM: aws}).keys(t.Context(), aws.Users(), func(_ string, s Status, fix, format string, _ ...any) {
		told++
		if s != Warn || strings.Contains(fix, "delete") || !strings.Contains(format, "no store to tell") {
			t.Errorf("%s %q, fix %q: want that no advice to delete is given", s, format, fix)
		}
	})
	if told != 1 {
		t.Errorf("%d findings, want one", told)
	}
}
