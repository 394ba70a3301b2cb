package notify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// named counts how often each user is named by the troubles of messages.
func named(ms []Message) map[string]int {
	out := map[string]int{}
	for _, m := range ms {
		text, html := m.Text(), m.HTML()
		for _, it := range m.Items {
			if it.Kind == Trouble && strings.Contains(text, it.User) && strings.Contains(html, it.User) {
				out[it.User]++
			}
		}
	}
	return out
}

func TestAStormNamesEverybody(t *testing.T) {
	for users, width := range map[int]int{500: 10, 5000: 64} {
		t.Run(fmt.Sprint(users), func(t *testing.T) {
			bubble(t, func(t *testing.T, k *desk) {
				for i := range users {
					k.Observe(fmt.Sprintf("%0*d", width, i*7919), create, errDenied)
				}
				time.Sleep(time.Minute)
				got := named(k.in.all())
				if len(got) != users {
					t.Errorf("%d users are in trouble and %d of them were told, in %d messages", users, len(got), len(k.in.all()))
				}
				for user, n := range got {
					if n != 1 {
						t.Errorf("%s was told %d times", user, n)
					}
				}
				for _, m := range k.in.all() {
					if n := len(m.Text()); n > 32<<10 {
						t.Errorf("a message has %d bytes, want it split", n)
					}
				}
				raw, _, err := k.store.Setting(t.Context(), bookName)
				if err != nil || len(raw) > maxBook {
					t.Errorf("the book has %d bytes, %v; want %d at most", len(raw), err, maxBook)
				}
			})
		})
	}
}

func TestStoreAndMailDownTogether(t *testing.T) {
	for _, tt := range []struct {
		name            string
		mailAt, storeAt time.Duration // when they are back
	}{
		{name: "the mail is back first", mailAt: 2 * time.Hour, storeAt: 3 * time.Hour},
		{name: "the store is back first", mailAt: 3 * time.Hour, storeAt: 2 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var down atomic.Bool
			bubbleOn(t, func(string, string) error {
				if down.Load() {
					return errors.New("disk full")
				}
				return nil
			}, func(t *testing.T, k *desk) {
				k.Observe("old", create, errDenied) // told before
				time.Sleep(time.Minute)
				begin := time.Now()
				down.Store(true)
				k.in.set(errors.New("no route to host"), false)
				k.Observe("old", create, errDenied)
				k.Observe("ci", create, errDenied)
				k.Observe("leak", plan.Step{Action: plan.Deactivate, Reason: plan.Burning}, nil)
				k.Observe("web", create, errDenied)
				time.Sleep(time.Minute)
				k.Observe("web", create, nil) // over before anybody was told
				for time.Since(begin) < 4*time.Hour {
					k.Observe("ci", create, errDenied)
					time.Sleep(time.Minute)
					if time.Since(begin) == tt.mailAt {
						k.in.set(nil, false)
					}
					down.Store(time.Since(begin) < tt.storeAt)
					if time.Since(begin) == tt.mailAt+20*time.Minute { // within the longest back-off
						if got := named(k.in.all()); got["ci"] != 1 || !slices.Contains(k.in.subjects(), "[keyrot] leak: a leaked key was made inactive") {
							t.Errorf("20 minutes after the mail is back, told are\n  %s", strings.Join(k.in.subjects(), "\n  "))
						}
					}
				}
				k.Observe("old", create, nil)
				k.Observe("ci", create, nil)
				time.Sleep(time.Minute)
				got := named(k.in.all())
				if got["old"] != 1 || got["ci"] != 1 {
					t.Errorf("told are %v, want each trouble once", got)
				}
				if last := k.in.subjects()[len(k.in.all())-1]; last != "[keyrot] old, ci: resolved: creating a key fails" {
					t.Errorf("after both ended, the last message is %q", last)
				}
			})
		})
	}
}

func TestNothingIsGivenUpThatNobodyTook(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.in.set(errors.New("down"), false)
		k.Observe("ci", create, errDenied)
		time.Sleep(72 * time.Hour)
		k.in.set(nil, false)
		time.Sleep(lastRetry + time.Minute)
		k.want(t, "[keyrot] ci: creating a key fails")
	})
}

func TestAChannelThatHangsDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		good := &inbox{name: "good"}
		n := &Notifier{Settings: &rotatetest.MemStore{}, Channels: []Channel{silent{}, good}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = n.Run(ctx) })
		for i := range 30 {
			n.Observe(fmt.Sprint("u", i), create, errDenied)
			time.Sleep(n.Gather + 3*time.Second)
			if got := len(good.all()); got != i+1 {
				t.Errorf("%d messages after %d troubles: the channel that hangs delays the other", got, i+1)
			}
		}
		cancel()
		wg.Wait()
	})
}

func TestAChannelIsAskedAgainWhenItSaid(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.in.set(&Busy{After: time.Hour, Err: errors.New("429")}, false)
		k.Observe("ci", create, errDenied)
		time.Sleep(time.Minute)
		k.in.set(nil, false)
		time.Sleep(58 * time.Minute)
		k.want(t)
		time.Sleep(2 * time.Minute)
		k.want(t, "[keyrot] ci: creating a key fails")
	})
}

// picky is a channel that does not take messages about a user.
type picky struct{ inbox }

func (p *picky) Send(ctx context.Context, m Message) error {
	if strings.Contains(m.Subject, "poison") {
		return errors.New("552 too large")
	}
	return p.inbox.Send(ctx, m)
}

func TestAMessageThatIsRefusedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := &picky{inbox{name: "mail"}}
		n := &Notifier{Settings: &rotatetest.MemStore{}, Channels: []Channel{in}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = n.Run(ctx) })
		for _, user := range []string{"poison1", "poison2", "a", "b"} {
			n.Observe(user, create, errDenied)
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		if got := named(in.all()); got["a"] != 1 || got["b"] != 1 {
			t.Errorf("told are %v, want a and b", got)
		}
		cancel()
		wg.Wait()
	})
}

func TestLeaksGoFirst(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		for i := range 300 {
			k.Observe(fmt.Sprintf("u%03d", i), create, errDenied)
		}
		k.Observe("ci", plan.Step{Action: plan.Deactivate, Reason: plan.Burning}, nil)
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] ci: a leaked key was made inactive", "[keyrot] 300 users: creating a key fails")
	})
}

// TestALingeringLeakIsToldOnce: a burned key is made inactive again every few
// seconds until AWS refuses it.
func TestALingeringLeakIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		for range 50 {
			k.Observe("ci", plan.Step{Action: plan.Deactivate, Reason: plan.Burning, KeyID: "AKIALEAKED"}, nil)
			time.Sleep(12 * time.Second)
		}
		k.Observe("ci", plan.Step{Action: plan.Deactivate, Reason: plan.Burning, KeyID: "AKIAANOTHER"}, nil)
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] ci: a leaked key was made inactive", "[keyrot] ci: a leaked key was made inactive")
	})
}

// TestAFullBookKeepsLeaks: with every channel down for long, what does not fit
// is dropped, and told when it is seen again after the channels are back.
func TestAFullBookKeepsLeaks(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.in.set(errors.New("down"), false)
		k.Observe("ci", plan.Step{Action: plan.Deactivate, Reason: plan.Burning}, nil)
		storm := func() {
			for i := range 5000 {
				k.Observe(fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)})), create, errDenied)
			}
			time.Sleep(15 * time.Second)
			raw, _, err := k.store.Setting(t.Context(), bookName)
			if err != nil || len(raw) > maxBook {
				t.Errorf("the book has %d bytes, %v; want %d at most", len(raw), err, maxBook)
			}
		}
		storm()
		k.in.set(nil, false)
		time.Sleep(time.Minute)
		if got := k.in.subjects(); len(got) == 0 || got[0] != "[keyrot] ci: a leaked key was made inactive" {
			t.Errorf("told are %q, want the leak first", got)
		}
		before := len(named(k.in.all()))
		storm() // whatever of it was dropped is told now
		if after := len(named(k.in.all())); before == 5000 || after <= before {
			t.Errorf("%d users were told, then %d; want some dropped, and told later", before, after)
		}
	})
}

func TestABookOfAnOlderVersionKeepsItsMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, in := &rotatetest.MemStore{}, &inbox{name: "smtp:a@example.com"}
		old := `{"id":"x","seq":4,"open":{"ci\u001foverdue":{"title":"late","at":"2000-01-01T00:00:00Z","told":true}},
			"outbox":[{"id":"x-4","subject":"[keyrot] ci: late","at":"2000-01-01T00:00:00Z","more":3,"left":["smtp"],"next":"2000-01-01T00:00:00Z"}]}`
		if _, err := store.SaveSetting(t.Context(), bookName, []byte(old), 0); err != nil {
			t.Fatal(err)
		}
		n := &Notifier{Settings: store, Channels: []Channel{in}}
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := in.all(); len(got) != 1 || got[0].ID != "x-4" {
			t.Errorf("sent %v, want the message that was waiting", got)
		}
	})
}
