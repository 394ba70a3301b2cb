package doctor

import (
	"context"
	"errors"
	"fmt"
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

// Nothing is said against the keys of a user whose entry cannot be read: one of
// them is served. Nor is advice to delete another user's, who may be the same
// one, renamed.
func TestKeysOfAnUnreadableEntry(t *testing.T) {
	t.Parallel()
	aws := &rotatetest.AWS{}
	for _, u := range []string{"ann", "bob"} {
		aws.AddUser(u, "/", nil)
		if _, err := aws.Plant(u); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	p := Patient{IAM: aws, Policy: func(string) plan.Policy { return plan.Policy{} }, Entries: func(context.Context) ([]rotate.Entry, error) {
		return []rotate.Entry{rotate.Unreadable("ann", 1, time.Time{}, errors.New("damaged"))}, nil
	}}
	p.keys(t.Context(), aws.Users(), func(check string, s Status, fix, format string, args ...any) {
		told = append(told, fmt.Sprintf("%s %s: "+format+", "+fix, append([]any{s, check}, args...)...))
	})
	if len(told) != 2 || !strings.HasPrefix(told[0], "fail store: the entry of ann cannot be read: damaged") ||
		!strings.HasPrefix(told[1], "warn foreign keys: user bob has key") || strings.Contains(strings.Join(told, ""), "delete") {
		t.Errorf("told %q, want that ann's entry cannot be read, and that bob has an unknown key", told)
	}
}
