package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// orphanage is an account whose users' keys were rotated by a stack that is
// gone.
type orphanage struct {
	aws   *rotatetest.AWS
	store *rotatetest.MemStore
	given map[string][]rotate.Credential // the older first
	told  []string
	fault func(op rotatetest.Op, user string) rotatetest.Fault
}

// newOrphanage gives each user a Current key and a Previous one, both handed
// out.
func newOrphanage(t *testing.T, users ...string) *orphanage {
	t.Helper()
	o := &orphanage{aws: &rotatetest.AWS{}, store: &rotatetest.MemStore{}, given: map[string][]rotate.Credential{}}
	o.aws.Fault = func(op rotatetest.Op, user, _ string) rotatetest.Fault {
		if o.fault == nil {
			return rotatetest.None
		}
		return o.fault(op, user)
	}
	for _, u := range users {
		o.aws.AddUser(u, "/", nil)
	}
	r := o.rotator()
	r.Select = func(context.Context) ([]rotate.User, error) { return o.aws.Users(), nil }
	for _, force := range []bool{false, true} {
		rep, err := r.RunOnce(t.Context(), rotate.Options{Force: force, Patience: time.Minute})
		if err != nil || len(rep.Failed()) > 0 {
			t.Fatalf("RunOnce() = %+v, %v", rep, err)
		}
		for _, u := range users {
			c, err := (&rotate.Dispenser{Store: o.store, Clock: rotatetest.Clock()}).Give(t.Context(), u, rotate.Recipient{Caller: "test"})
			if err != nil {
				t.Fatal(err)
			}
			o.given[u] = append(o.given[u], c)
		}
	}
	return o
}

// rotator is one of a new process, which knows nothing of what is selected.
func (o *orphanage) rotator() *rotate.Rotator {
	return &rotate.Rotator{IAM: o.aws, Clock: rotatetest.Clock(), Store: o.store, Handouts: o.store, Owner: "test"}
}

func (o *orphanage) finisher(patience time.Duration, users ...string) *finisher {
	f := &finisher{rotator: o.rotator(), store: o.store, end: time.Now().Add(patience), say: func(format string, args ...any) {
		o.told = append(o.told, fmt.Sprintf(format, args...))
	}}
	for _, u := range users {
		f.open = append(f.open, waiting{user: u})
	}
	return f
}

// keys returns how many keys the user has, and whether the newer and the older
// one work.
func (o *orphanage) keys(t *testing.T, user string) (n int, newer, older bool) {
	t.Helper()
	all, err := o.aws.Keys(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	works := func(c rotate.Credential) bool { return o.aws.Use(c.KeyID, c.Secret.Reveal()) == nil }
	return len(all), works(o.given[user][1]), works(o.given[user][0])
}

func (o *orphanage) all() string { return strings.Join(o.told, "\n") }

func TestFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrphanage(t, "ann", "bob")
		promised := o.given["ann"][0].Expiration
		done := make(chan error)
		began := time.Now()
		go func() { done <- o.finisher(20*time.Minute, "ann", "bob").run(t.Context()) }()
		time.Sleep(time.Until(promised) - time.Second)
		if _, newer, older := o.keys(t, "ann"); !newer || !older {
			t.Errorf("before its promise is over: the key works %t, its successor %t", older, newer)
		}
		if err := <-done; err != nil {
			t.Fatalf("finishing = %v\n%s", err, o.all())
		}
		for _, user := range []string{"ann", "bob"} {
			if n, newer, _ := o.keys(t, user); n != 1 || !newer {
				t.Errorf("%s has %d keys, the newer one works: %t; want that alone", user, n, newer)
			}
			if !strings.Contains(o.all(), user+" keeps key "+o.given[user][1].KeyID) {
				t.Errorf("it was not told which key %s keeps:\n%s", user, o.all())
			}
		}
		if took := time.Since(began); took > 16*time.Minute { // side by side, not one after the other
			t.Errorf("two users took %s, want the schedule's 15 minutes for both", took)
		}
	})
}

// What is not due in time is told, whole, and left as it is.
func TestFinishTooImpatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrphanage(t, "ann")
		for _, patience := range []time.Duration{0, 5 * time.Minute} {
			began := time.Now()
			f := o.finisher(patience, "ann")
			if err := f.run(t.Context()); err != nil || f.late != 1 || time.Since(began) > patience {
				t.Errorf("waiting %s = %v, %d late, after %s", patience, err, f.late, time.Since(began))
			}
			if n, newer, older := o.keys(t, "ann"); n != 2 || !newer || !older {
				t.Errorf("after %s: %d keys, working: %t and %t, want both as they were", patience, n, newer, older)
			}
			if all := o.all(); !strings.Contains(all, "left as they are: "+o.given["ann"][0].KeyID) {
				t.Errorf("the superseded key was not named:\n%s", all)
			}
		}
	})
}

// The wait is cut short by Ctrl-C; the same again goes on.
func TestFinishInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrphanage(t, "ann", "bob")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(5 * time.Minute)
			cancel(interruption{syscall.SIGINT})
		}()
		if err := o.finisher(20*time.Minute, "ann", "bob").run(ctx); exitCode(err) != 130 || !strings.Contains(err.Error(), "interrupted, 2 users have superseded keys yet; run this again") {
			t.Errorf("interrupted = %v\n%s", err, o.all())
		}
		if _, newer, older := o.keys(t, "ann"); !newer || !older {
			t.Errorf("interrupted: the key works %t, its successor %t, want both", older, newer)
		}
		if err := o.finisher(20*time.Minute, "ann", "bob").run(t.Context()); err != nil {
			t.Errorf("the same again = %v", err)
		}
		if n, newer, _ := o.keys(t, "bob"); n != 1 || !newer {
			t.Errorf("bob has %d keys, the newer one works: %t", n, newer)
		}
	})
}

// One user's failure stops nobody, and is an error: the table must not go.
func TestFinishFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		down   time.Duration // from the first deactivation on
		denied bool
		heals  bool
	}{
		"a refusal is final":       {denied: true},
		"what is down is retried":  {down: 3 * time.Minute, heals: true},
		"what stays down, is told": {down: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := newOrphanage(t, "ann", "bob")
				var since time.Time
				o.fault = func(op rotatetest.Op, user string) rotatetest.Fault {
					if user != "ann" || op != rotatetest.UpdateKey {
						return rotatetest.None
					}
					if since.IsZero() {
						since = time.Now()
					}
					if time.Since(since) < tc.down {
						return rotatetest.Before
					}
					return rotatetest.None
				}
				f := o.finisher(20*time.Minute, "ann", "bob")
				if tc.denied {
					f.rotator.IAM = denying{o.aws, "ann"}
				}
				err := f.run(t.Context())
				if tc.heals != (err == nil) || err != nil && (!errors.Is(err, errSome) || hint.Of(err) != goesOn) {
					t.Errorf("finishing = %v (%s)\n%s", err, hint.Of(err), o.all())
				}
				if !strings.Contains(o.all(), `warning: deactivate for "ann"`) {
					t.Errorf("the failure was not told:\n%s", o.all())
				}
				if n, newer, _ := o.keys(t, "ann"); !newer || tc.heals != (n == 1) {
					t.Errorf("ann has %d keys, the newer one works: %t\n%s", n, newer, o.all())
				}
				if n, newer, _ := o.keys(t, "bob"); n != 1 || !newer {
					t.Errorf("bob, whom nothing befell, has %d keys, the newer one works: %t", n, newer)
				}
			})
		})
	}
}

// denying refuses to change the user's keys.
type denying struct {
	rotate.IAM
	user string
}

func (d denying) SetStatus(ctx context.Context, user, keyID string, s plan.Status) error {
	if user == d.user {
		return rotate.ErrDenied
	}
	return d.IAM.SetStatus(ctx, user, keyID, s)
}

// Users for whom waiting cannot help are not waited for.
func TestFinishHopeless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrphanage(t, "ann", "bob")
		if err := o.rotator().Pause(t.Context(), "ann", time.Time{}, "why", "test"); err != nil {
			t.Fatal(err)
		}
		for _, k := range o.aws.Truth("bob") {
			o.aws.Uproot("bob", k.ID)
		}
		if err := o.aws.DeleteUser("bob"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := o.finisher(20*time.Minute, "ann", "bob").run(t.Context()); err != nil || time.Since(began) > time.Minute {
			t.Errorf("finishing = %v after %s\n%s", err, time.Since(began), o.all())
		}
		for _, want := range []string{"ann is paused: it keeps key " + o.given["ann"][1].KeyID, "bob is gone from IAM"} {
			if !strings.Contains(o.all(), want) {
				t.Errorf("%q was not told:\n%s", want, o.all())
			}
		}
	})
}
