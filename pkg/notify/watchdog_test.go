package notify

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

func watch(t *testing.T, k *desk, f func(w *Watchdog)) {
	t.Helper()
	w := &Watchdog{Clock: rotatetest.Clock(), Notifier: k.Notifier, Roster: roster(k.store), Owner: "host/1"}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	f(w)
	cancel()
	wg.Wait()
}

func roster(s rotate.Store) *rotate.Roster {
	return &rotate.Roster{Store: s, Policy: func(string) plan.Policy { return plan.Policy{} }, Now: time.Now}
}

func TestAStoppedSchedulerIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		watch(t, k, func(w *Watchdog) {
			for range 300 {
				time.Sleep(time.Second)
				w.Beat()
			}
			k.want(t)
			time.Sleep(5 * time.Minute) // it hangs
			k.want(t, "[keyrot] rotation has stopped")
			for range 60 {
				time.Sleep(time.Second)
				w.Beat()
			}
			k.want(t, "[keyrot] rotation has stopped", "[keyrot] resolved: rotation has stopped")
		})
	})
}

func TestAHangingStoreIsTold(t *testing.T) {
	var hang chan struct{} // made inside the bubble
	stuck := func(op, _ string) error {
		if op == rotatetest.OpChanges {
			<-hang
		}
		return nil
	}
	bubbleOn(t, stuck, func(t *testing.T, k *desk) {
		hang = make(chan struct{})
		watch(t, k, func(w *Watchdog) {
			for range 300 {
				time.Sleep(time.Second)
				w.Beat()
			}
			k.want(t, "[keyrot] the store does not answer")
			close(hang)
		})
	})
}

func TestRecordsTellWhatACrashLost(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		now := time.Now().UTC()
		save := func(v int64, r plan.Record) int64 {
			v, err := k.store.Save(t.Context(), rotate.Entry{Record: r, Version: v})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		cur := plan.Held{ID: "AKIA1", Stage: plan.Current, Slot: now, Promoted: now}
		v := save(0, plan.Record{User: "ci", Keys: []plan.Held{cur}, Waiting: plan.NoRoom, Since: now})
		watch(t, k, func(w *Watchdog) {
			alive := func(d time.Duration) {
				for range int(d / time.Second) {
					time.Sleep(time.Second)
					w.Beat()
				}
			}
			alive(2 * time.Minute)
			k.want(t, "[keyrot] ci: both access keys are taken")
			alive(11 * time.Minute)
			if got := k.in.subjects(); len(got) != 2 || !strings.Contains(got[1], "overdue") {
				t.Errorf("sent %q, want the user overdue after its slot", got)
			}
			cur.Slot = now.Add(13 * time.Minute)
			save(v, plan.Record{User: "ci", Keys: []plan.Held{cur}})
			alive(2 * time.Minute)
			if got := k.in.subjects(); len(got) != 3 || !strings.Contains(got[2], "2 resolved problems") {
				t.Errorf("sent %q, want both over", got)
			}
		})
	})
}

func TestWatchdogReadsNothingItShouldNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		w := &Watchdog{}
		paused := plan.Record{User: "ci", Enrolled: now.Add(-time.Hour), Pause: &plan.Pause{Since: now}}
		for _, e := range w.troubles(paused, now) {
			t.Errorf("a paused user is reported as %q", e.Title)
		}
	})
}

// The book of a fleet that is well is empty, whoever was in trouble before:
// users that are managed no longer included. A trouble that began after the
// records were read is not over by them.
func TestTheBookKeepsOpenTroublesOnly(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		now := time.Now().UTC()
		for _, user := range []string{"ann", "bob", "cyd"} {
			cur := plan.Held{ID: "AKIA" + user, Stage: plan.Current, Slot: now, Promoted: now}
			if _, err := k.store.Save(t.Context(), rotate.Entry{Record: plan.Record{User: user, Keys: []plan.Held{cur}}}); err != nil {
				t.Fatal(err)
			}
		}
		w := &Watchdog{Clock: rotatetest.Clock(), Notifier: k.Notifier, Roster: roster(k.store)}
		if _, _, err := w.Roster.All(t.Context()); err != nil {
			t.Fatal(err)
		}
		fails := func(user string, at time.Time) {
			k.Tell(Item{Kind: Trouble, User: user, What: failedTo + "create", Title: "creating a key fails", At: at})
		}
		fails("ann", now.Add(-time.Minute))
		fails("gone", now.Add(-time.Minute))
		fails("bob", now.Add(time.Millisecond))
		w.Review(t.Context())
		time.Sleep(20 * time.Second)
		raw, _, err := k.store.Setting(t.Context(), bookName)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decode(raw)
		if _, open := b.Troubles["bob"]; err != nil || !open || len(b.Troubles) != 1 {
			t.Errorf("open troubles %v, %v, want bob's only", b.Troubles, err)
		}
	})
}
