package rotate_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// ending is a call that is to take the superseded key away. It gets no answer,
// and has its effect later.
type ending struct {
	op    rotatetest.Op
	late  time.Duration
	order plan.OrderKind // given at once; "": somebody makes the served key inactive
	disk  bool           // it is full for two seconds just then
	other bool           // another process goes on
	heir  bool           // at once, because the process that made the call was killed
	clock bool           // the call shows that the clock was wrong
}

// TestACallThatEndsAKeyMayComeLate: while a call that got no answer may still take
// the superseded key away, something comes up that could put the key back into
// service. Whatever is handed out works until its Expiration.
func TestACallThatEndsAKeyMayComeLate(t *testing.T) {
	t.Parallel()
	const soon, late = 3 * time.Second, 20 * time.Second
	for name, tt := range map[string]ending{
		"deactivation, burn":                    {op: rotatetest.UpdateKey, late: late, order: plan.Burn},
		"deactivation, burn, soon":              {op: rotatetest.UpdateKey, late: soon, order: plan.Burn},
		"deactivation, rollback":                {op: rotatetest.UpdateKey, late: late, order: plan.Rollback},
		"deactivation, rollback, soon":          {op: rotatetest.UpdateKey, late: soon, order: plan.Rollback},
		"deactivation, the served key is taken": {op: rotatetest.UpdateKey, late: late},
		"deactivation, burn, full disk":         {op: rotatetest.UpdateKey, late: late, order: plan.Burn, disk: true},
		"deactivation, rollback, full disk":     {op: rotatetest.UpdateKey, late: late, order: plan.Rollback, disk: true},
		"deactivation, burn, other process":     {op: rotatetest.UpdateKey, late: late, order: plan.Burn, other: true},
		"deactivation, burn, both":              {op: rotatetest.UpdateKey, late: late, order: plan.Burn, other: true, disk: true},
		"deactivation, burn, clock is wrong":    {op: rotatetest.UpdateKey, late: late, order: plan.Burn, clock: true},
		"deactivation, burn, killed":            {op: rotatetest.UpdateKey, late: late, order: plan.Burn, other: true, heir: true},
		"deactivation, rollback, killed":        {op: rotatetest.UpdateKey, late: late, order: plan.Rollback, other: true, heir: true},
		"deletion, rollback, killed":            {op: rotatetest.DeleteKey, late: late, order: plan.Rollback, other: true, heir: true},
		"deletion, burn, killed":                {op: rotatetest.DeleteKey, late: late, order: plan.Burn, other: true, heir: true},
		"deletion, burn":                        {op: rotatetest.DeleteKey, late: late, order: plan.Burn},
		"deletion, rollback":                    {op: rotatetest.DeleteKey, late: late, order: plan.Rollback},
		"deletion, rollback, soon":              {op: rotatetest.DeleteKey, late: soon, order: plan.Rollback},
		"deletion, rollback, other process":     {op: rotatetest.DeleteKey, late: late, order: plan.Rollback, other: true},
		"deletion, the served key is taken":     {op: rotatetest.DeleteKey, late: late},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h, old, cur := twoKeys(t)
				h.untilLost(t, old.KeyID, tt)
				switch tt.order {
				case "":
					h.aws.Switch("ci", cur.KeyID, plan.Inactive)
				case plan.Burn:
					h.mustOrder(t, plan.Order{Kind: tt.order, KeyID: cur.KeyID})
				default:
					h.mustOrder(t, plan.Order{Kind: tt.order})
				}
				h.replaced(t, cur.KeyID, 5*time.Minute)
			})
		})
	}
}

// untilLost runs until the call is lost. Afterwards h is who goes on.
func (h *house) untilLost(t *testing.T, key string, e ending) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	var lost atomic.Pointer[time.Time]
	h.Clock.Ask = func(context.Context) error {
		h.Clock.Begin()(time.Now().Add(5 * time.Second))
		return nil
	}
	mortal := &mortalStore{Store: h.store}
	if e.heir {
		h.Store = mortal
	}
	h.aws.LateBy = rotatetest.Delay{Min: e.late}
	h.store.Before = func(op, _ string) error {
		if at := lost.Load(); e.disk && at != nil && time.Since(*at) < 2*time.Second && op == rotatetest.OpSave {
			return errors.New("no space left on device")
		}
		return nil
	}
	h.aws.Fault = func(op rotatetest.Op, _, id string) rotatetest.Fault {
		hit := op == e.op && id == key && lost.Load() == nil
		chance := 0.0
		if hit {
			now := time.Now()
			lost.Store(&now)
			chance = 1
			mortal.dead.Store(e.heir)
			if e.clock {
				_ = h.Clock.Ask(t.Context())
			}
			if !e.disk || e.other {
				stop()
			} else {
				time.AfterFunc(3*time.Second, stop)
			}
		}
		h.aws.Change(func(a *rotatetest.AWS) { a.Late = chance })
		return rotatetest.None
	}
	if err := h.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if lost.Load() == nil {
		t.Fatalf("there was no %s of the superseded key", e.op)
	}
	if e.disk {
		time.Sleep(2*time.Second - time.Since(*lost.Load()))
	}
	if e.other {
		dead := h.Owner
		h.Rotator = &rotate.Rotator{Clock: h.Clock, IAM: h.IAM, Store: h.store, Owner: "other", Log: h.Log, Select: h.Select}
		if e.heir {
			h.Dead = func() []string { return []string{dead} }
		}
	}
}

// replaced runs on until another key than the given one is handed out, and for
// a while after: what is handed out must work.
func (h *house) replaced(t *testing.T, key string, within time.Duration) {
	t.Helper()
	d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store}
	given := map[string]rotate.Credential{}
	for range int(within / time.Second) {
		h.run(t, time.Second)
		if c, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "test"}); err == nil && c.KeyID != key {
			given[c.KeyID] = c
		}
		for id, c := range given {
			if left := time.Until(c.Expiration); left > 0 && !h.works(c) {
				t.Fatalf("key %s is refused %s before its Expiration", id, left)
			}
		}
	}
	if len(given) == 0 {
		t.Error("nothing has taken the served key's place")
	}
}
