package rotate_test

// The situations in which other rotators lost keys: docs/testing.md has the list.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// run lets the house's scheduler work for d.
func (h *house) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := h.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSavingFailsForEver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, served := oneKey(t)
		disk := errors.New("no space left on device")
		h.store.Before = func(op, _ string) error {
			if op == rotatetest.OpSave {
				return disk
			}
			return nil
		}
		h.run(t, 2*time.Hour)
		if !h.works(served) {
			t.Error("the served key died while nothing could be saved")
		}
		if n := len(h.aws.Truth("ci")); n > 1 {
			t.Errorf("%d keys exist, want the served one only: no call without a saved intent", n)
		}
		h.store.Before = nil
		h.run(t, 15*time.Minute)
		if got := h.give(t, "ci"); got.KeyID == served.KeyID || !h.works(got) {
			t.Error("rotation did not go on once the store was back")
		}
	})
}

func TestLostReplyLeavesNoOrphan(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, served := oneKey(t)
		lost := 0
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey && lost < 3 {
				lost++
				return rotatetest.After
			}
			return rotatetest.None
		}
		h.run(t, 11*time.Minute)
		if lost == 0 || !h.works(served) {
			t.Fatalf("%d replies were lost, the served key works: %v", lost, h.works(served))
		}
		h.run(t, 30*time.Minute)
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range h.aws.Truth("ci") {
			if e.Record.Key(k.ID) == nil {
				t.Errorf("%s is an orphan", k.ID)
			}
		}
		if got := h.give(t, "ci"); got.KeyID == served.KeyID {
			t.Error("rotation did not go on")
		}
	})
}

func TestRecreatedUserIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		for _, k := range h.aws.Truth("ci") {
			h.aws.Uproot("ci", k.ID)
		}
		if err := h.aws.DeleteUser("ci"); err != nil {
			t.Fatal(err)
		}
		h.aws.AddUser("ci", "/", nil)
		theirs, err := h.aws.Plant("ci")
		if err != nil {
			t.Fatal(err)
		}
		h.run(t, time.Hour)
		keys := h.aws.Truth("ci")
		if len(keys) != 1 || keys[0].ID != theirs || keys[0].Status != plan.Active {
			t.Errorf("the stranger now has %+v, want its one active key", keys)
		}
	})
}

func TestForeignKeyMidRotation(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, served := oneKey(t)
		h.run(t, 8*time.Minute)
		theirs, err := h.aws.Plant("ci") // takes the slot of the rotation at minute 10
		if err != nil {
			t.Fatal(err)
		}
		h.run(t, time.Hour)
		if !h.works(served) {
			t.Error("the served key died for want of a slot")
		}
		c := h.give(t, "ci")
		if c.KeyID != served.KeyID || !c.Expiration.After(time.Now()) {
			t.Errorf("%s is handed out until %s, want %s with an Expiration ahead", c.KeyID, c.Expiration, served.KeyID)
		}
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if e.Record.Waiting != plan.ForeignKey {
			t.Errorf("the user waits for %q, want %q", e.Record.Waiting, plan.ForeignKey)
		}
		h.aws.Uproot("ci", theirs)
		h.run(t, 15*time.Minute)
		if got := h.give(t, "ci"); got.KeyID == served.KeyID {
			t.Error("rotation did not go on once the foreign key was gone")
		}
	})
}

func TestInactiveForeignKeyIsNotDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		theirs, err := h.aws.Plant("ci")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.aws.SetStatus(t.Context(), "ci", theirs, plan.Inactive); err != nil {
			t.Fatal(err)
		}
		h.run(t, 2*time.Hour)
		for _, k := range h.aws.Truth("ci") {
			if k.ID == theirs {
				return
			}
		}
		t.Error("an inactive foreign key was deleted to make room")
	})
}

func TestNewKeyRefusedForAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		h.aws.Change(func(a *rotatetest.AWS) { a.NewKey = rotatetest.Delay{Min: time.Minute, Max: time.Minute} })
		h.run(t, 11*time.Minute+30*time.Second)
		if c := h.give(t, "ci"); !h.works(c) {
			t.Error("a key that AWS does not accept yet was handed out")
		}
		h.run(t, 3*time.Minute)
		if c := h.give(t, "ci"); !h.works(c) {
			t.Error("the rotation ended with a key that does not work")
		}
	})
}

func TestFlappingKeyIsNotPromoted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		h.aws.Change(func(a *rotatetest.AWS) { a.NewKey = rotatetest.Delay{Max: time.Second, Flap: 20 * time.Second} })
		for range 60 {
			h.run(t, 10*time.Second)
			c := h.give(t, "ci")
			for range 5 {
				if !h.works(c) {
					t.Fatal("a key that flaps was handed out")
				}
			}
		}
	})
}

func TestClockIsAWSs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Clock = &rotate.Clock{Wall: func() time.Time { return time.Now().Add(3 * time.Hour) }}
		h.Clock.Begin()(time.Now())
		h.turn(t, rotate.Options{})
		c := h.give(t, "ci")
		if left := time.Until(c.Expiration); left > 12*time.Minute {
			t.Errorf("the Expiration lies %s ahead by AWS's clock, want at most 12m", left)
		}
		h.turn(t, rotate.Options{Force: true})
		h.run(t, time.Until(c.Expiration))
		if !h.works(c) {
			t.Error("a clock three hours ahead had the key deactivated before its Expiration")
		}
	})
}

func TestDeadlineStopsBetweenSteps(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		users := []string{"a", "b", "c", "d", "e", "f"}
		h := newHouse(users...)
		h.Workers = 1
		ctx, cancel := context.WithCancel(t.Context())
		h.aws.Fault = func(op rotatetest.Op, user, _ string) rotatetest.Fault {
			if op == rotatetest.CallerIdentity && user == "c" {
				cancel()
			}
			return rotatetest.None
		}
		_, _ = h.RunOnce(ctx, rotate.Options{Patience: time.Minute})
		for _, u := range users {
			e, err := h.store.Load(t.Context(), u)
			if errors.Is(err, rotate.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range h.aws.Truth(u) {
				if e.Record.Key(k.ID) == nil || e.Secrets[k.ID].IsZero() {
					t.Errorf("the deadline stranded key %s of %s", k.ID, u)
				}
			}
		}
		time.Sleep(5 * time.Second) // the interrupted proof is tried again after a moment
		h.turn(t, rotate.Options{})
		for _, u := range users {
			h.give(t, u)
		}
	})
}

func TestScheduleChangeKeepsPromises(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Policy = func(string) plan.Policy {
			return plan.Policy{RotateEvery: time.Hour, DeactivateAfter: 75 * time.Minute, DeleteAfter: 90 * time.Minute}
		}
		h.turn(t, rotate.Options{})
		promised := h.give(t, "ci")
		h.Policy = func(string) plan.Policy { return plan.Policy{} } // 10/12/15 minutes
		h.turn(t, rotate.Options{Force: true})
		h.run(t, time.Until(promised.Expiration))
		if !h.works(promised) {
			t.Error("a shorter schedule broke a promise that was given before")
		}
		h.run(t, 10*time.Minute)
		if h.works(promised) {
			t.Error("the key was kept long after the promise")
		}
	})
}

func TestRestartKeepsDueTimes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.run(t, 25*time.Minute)
		n := h.aws.Calls(rotatetest.CreateKey)
		for range 20 { // restarts neither hurry nor delay a rotation
			second := newHouse()
			second.aws, second.store = h.aws, h.store
			second.IAM, second.Store = h.aws, h.store
			second.Select = func(context.Context) ([]rotate.User, error) { return h.aws.Users(), nil }
			second.run(t, 3*time.Minute)
		}
		if got := h.aws.Calls(rotatetest.CreateKey) - n; got < 5 || got > 7 {
			t.Errorf("%d rotations in an hour of restarts, want 6", got)
		}
	})
}

// TestADeletedUserDoesNotStopTheOthers: a name in the selection that IAM does
// not know any more is told, and a daemon that starts goes on with the others.
func TestADeletedUserDoesNotStopTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.Select = func(context.Context) ([]rotate.User, error) {
			return h.aws.Users(), fmt.Errorf("looking up user %q: %w", "gone", rotate.ErrNoUser)
		}
		if _, err := h.RunOnce(t.Context(), rotate.Options{}); !errors.Is(err, rotate.ErrNoUser) {
			t.Errorf("RunOnce() = %v, want %v: it may be misspelt", err, rotate.ErrNoUser)
		}
		if n := h.aws.Calls(rotatetest.CreateKey); n != 0 {
			t.Errorf("%d keys were made before the misspelling was told", n)
		}
		rep, err := h.RunOnce(t.Context(), rotate.Options{Unattended: true, Patience: time.Minute})
		if err != nil || !changed(rep) {
			t.Errorf("RunOnce(unattended) = %+v, %v, want the others rotated", rep, err)
		}
		h.log.Reset()
		h.run(t, 5*time.Minute)
		first := h.give(t, "ci")
		h.run(t, 15*time.Minute)
		if got := h.give(t, "ci"); got.KeyID == first.KeyID {
			t.Error("nobody is rotated because one selected user does not exist")
		}
		if n := strings.Count(h.log.String(), "a selected user does not exist"); n != 2 {
			t.Errorf("it was told %d times, want once at each start", n)
		}
	})
}

func TestAnotherProcessIsToldOnceUntilItIsDone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		for round := 1; round <= 2; round++ {
			if _, err := h.store.Acquire(t.Context(), "ci", "other", time.Now(), time.Minute); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				h.turn(t, rotate.Options{Force: true})
				time.Sleep(time.Second)
			}
			if got := strings.Count(h.log.String(), "another process acts on this user"); got != round {
				t.Errorf("the log tells %d times of another process, want %d", got, round)
			}
			time.Sleep(time.Minute)
			h.turn(t, rotate.Options{})
		}
	})
}
