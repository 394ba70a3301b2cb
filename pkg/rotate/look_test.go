package rotate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// asAWS answers for an unknown user as AWS does: NoSuchEntity, as for a key.
type asAWS struct{ rotate.IAM }

func (a asAWS) SetStatus(ctx context.Context, user, id string, s plan.Status) error {
	err := a.IAM.SetStatus(ctx, user, id, s)
	if errors.Is(err, rotate.ErrNoUser) {
		return rotate.ErrNoKey
	}
	return err
}

// A user is renamed just before its superseded key goes, which is done without a
// look. IAM knows no such key under the old name; but the key works still.
func TestADeactivationUnderAnOldNameIsLookedInto(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, _ := oneKey(t)
		h.IAM, h.Reselect = asAWS{h.aws}, time.Hour
		time.AfterFunc(11*time.Minute, func() { h.aws.RenameUser("ci", "ci-new") })
		h.run(t, 14*time.Minute)
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range h.aws.Truth("ci-new") {
			if held := e.Record.Key(k.ID); held == nil || k.Status == plan.Active && !held.Deactivated.IsZero() {
				t.Errorf("%s works, and the record says %+v", k.ID, held)
			}
		}
	})
}

// Somebody makes the new key inactive while nobody looks: AWS is asked before the
// old one goes, which takes over again.
func TestTheOldKeyStaysWhenItsSuccessorIsSpoilt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old := oneKey(t)
		time.AfterFunc(11*time.Minute, func() { h.aws.Switch("ci", h.give(t, "ci").KeyID, plan.Inactive) })
		h.run(t, 13*time.Minute)
		if got := h.give(t, "ci"); got.KeyID != old.KeyID || !h.works(got) {
			t.Errorf("%s is handed out, want %s, which works", got.KeyID, old.KeyID)
		}
	})
}

// Somebody makes the old key active again after it went: it is not deleted as it is.
func TestAKeyMadeActiveAgainIsNotDeletedUnseen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old := oneKey(t)
		time.AfterFunc(13*time.Minute, func() { h.aws.Switch("ci", old.KeyID, plan.Active) })
		h.run(t, 16*time.Minute)
		if h.aws.Calls(rotatetest.DeleteKey) > 0 {
			t.Error("an active key was deleted")
		}
	})
}

// IAM is down while a new key settles: it is proven and promoted nevertheless.
func TestAPromotionNeedsNoIAM(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, first := oneKey(t)
		down := false
		time.AfterFunc(10*time.Minute+5*time.Second, func() { down = true })
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if down && op != rotatetest.CallerIdentity {
				return rotatetest.Before
			}
			return rotatetest.None
		}
		h.run(t, 11*time.Minute)
		if got := h.give(t, "ci"); got.KeyID == first.KeyID {
			t.Error("the new key was not promoted")
		}
	})
}
