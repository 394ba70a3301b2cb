package rotate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// secretless is a store that takes everything but a second secret: intents can
// be saved, new keys cannot.
type secretless struct {
	*rotatetest.MemStore
	full *bool
}

func (s secretless) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	if *s.full && len(e.Secrets) > 1 {
		return 0, errors.New("no space left on device")
	}
	return s.MemStore.Save(ctx, e)
}

func TestANewSecretCannotBeSavedForEver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, served := oneKey(t)
		h.run(t, 9*time.Minute)
		full := true
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: secretless{h.store, &full}, Owner: "test", Select: h.Select}
		before := h.aws.Calls(rotatetest.CreateKey)
		h.run(t, 2*time.Hour)
		if h.aws.Calls(rotatetest.CreateKey) == before {
			t.Fatal("no key was created: the test has shown nothing")
		}
		if !h.works(served) {
			t.Error("the served key died while new secrets could not be saved")
		}
		full = false
		h.run(t, 15*time.Minute)
		if got := h.give(t, "ci"); got.KeyID == served.KeyID || !h.works(got) {
			t.Error("rotation did not go on once the store was back")
		}
		e, err := h.store.Load(t.Context(), "ci")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range h.aws.Truth("ci") {
			if e.Record.Key(k.ID) == nil {
				t.Errorf("%s is an orphan", k.ID)
			}
		}
	})
}

func TestIAMDownFreezesAndServes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, served := oneKey(t)
		h.aws.Change(func(a *rotatetest.AWS) {
			a.Spells = []rotatetest.Spell{{From: time.Now(), To: time.Now().Add(3 * time.Hour), IAM: true, STS: true}}
		})
		// A daemon that starts meanwhile cannot even read the selection.
		h.Rotator = &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Owner: "restarted", Select: func(context.Context) ([]rotate.User, error) {
			return nil, rotatetest.ErrDown
		}}
		for range 8 {
			h.run(t, 20*time.Minute)
			c := h.give(t, "ci")
			if left := time.Until(c.Expiration); c.KeyID != served.KeyID || left <= 0 || left > 12*time.Minute {
				t.Fatalf("handed out is %s for %s, want %s with an Expiration that rolls", c.KeyID, left, served.KeyID)
			}
		}
	})
}
