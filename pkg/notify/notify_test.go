package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// inbox is a channel that keeps what it gets and can fail or hang.
type inbox struct {
	name string
	mu   sync.Mutex
	err  error // for every message …
	lost bool  // … that is nevertheless taken
	got  []Message
}

func (i *inbox) Name() string { return i.name }

func (i *inbox) Send(_ context.Context, m Message) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil || i.lost {
		i.got = append(i.got, m)
	}
	return i.err
}

func (i *inbox) set(err error, lost bool) {
	i.mu.Lock()
	i.err, i.lost = err, lost
	i.mu.Unlock()
}

func (i *inbox) all() []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got)
}

func (i *inbox) subjects() []string {
	var out []string
	for _, m := range i.all() {
		out = append(out, m.Subject)
	}
	return out
}

// desk is a Notifier that runs in a bubble.
type desk struct {
	*Notifier
	store *rotatetest.MemStore
	in    *inbox
	stop  func()
}

func openDesk(t *testing.T, store *rotatetest.MemStore, in *inbox, d Digest) *desk {
	t.Helper()
	n := &Notifier{Settings: store, Channels: []Channel{in}, Digest: d}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx) })
	k := &desk{n, store, in, func() { cancel(); wg.Wait() }}
	t.Cleanup(k.stop)
	return k
}

func bubble(t *testing.T, f func(t *testing.T, k *desk)) {
	t.Helper()
	bubbleOn(t, nil, f)
}

// bubbleOn has a store whose operations go through before.
func bubbleOn(t *testing.T, before func(op, user string) error, f func(t *testing.T, k *desk)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := openDesk(t, &rotatetest.MemStore{Before: before}, &inbox{name: "mail"}, Daily)
		f(t, k)
		k.stop()
	})
}

func (k *desk) want(t *testing.T, subjects ...string) {
	t.Helper()
	if got := k.in.subjects(); !slices.Equal(got, subjects) {
		t.Errorf("sent\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(subjects, "\n  "))
	}
}

var (
	errDenied = fmt.Errorf("create for %q: %w", "ci", rotate.ErrDenied)
	create    = plan.Step{Action: plan.Create, Reason: plan.SlotDue}
	promote   = plan.Step{Action: plan.Promote, Reason: plan.Ready, KeyID: "AKIAIOSFODNN7EXAMPLE"}
)

func TestATroubleIsToldOnceUntilItIsOver(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		for i := range 20 {
			k.Observe("ci", create, fmt.Errorf("request %d: %w", i, errDenied))
			time.Sleep(7 * time.Second)
		}
		k.want(t, "[keyrot] ci: creating a key fails")
		k.Observe("ci", promote, nil)
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] ci: creating a key fails", "[keyrot] ci: resolved: creating a key fails")
		k.Observe("ci", create, errDenied)
		time.Sleep(time.Minute)
		if got := len(k.in.subjects()); got != 3 {
			t.Errorf("%d messages, want the trouble told again after it was over", got)
		}
	})
}

// TestADeadTargetIsToldOnce: not for each user whose key cannot be published.
func TestADeadTargetIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.Target("target", errors.New("connection refused"))
		for i := range 20 {
			k.Observe(fmt.Sprintf("ci-%d", i), plan.Step{Action: plan.Publish, Reason: plan.Unpublished}, fmt.Errorf("publisher target: %w", rotate.ErrTargetDown))
			time.Sleep(7 * time.Second)
		}
		k.want(t, "[keyrot] publisher target fails for all users")
		k.Target("target", nil)
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] publisher target fails for all users", "[keyrot] resolved: publisher target fails for all users")
	})
}

func TestATroubleThatPassesAtOnceIsNotTold(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.Observe("ci", create, errors.New("timeout"))
		time.Sleep(2 * time.Second)
		k.Observe("ci", create, nil)
		time.Sleep(time.Minute)
		k.want(t)
	})
}

func TestAStormIsOneMessage(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		for i := range 300 {
			k.Observe(fmt.Sprintf("u%03d", i), create, errDenied)
		}
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] 300 users: creating a key fails")
	})
}

// Of thousands of users some rotate every second: the book, which then is large,
// is not written as often, and nothing that somebody has to know waits for it.
func TestTheBookIsNotWrittenForEveryRotation(t *testing.T) {
	saved := 0
	count := func(op, name string) error {
		if op == rotatetest.OpSaveSetting && name == bookName {
			saved++
		}
		return nil
	}
	bubbleOn(t, count, func(t *testing.T, k *desk) {
		rotations := func(d time.Duration) {
			for i := range int(d / (125 * time.Millisecond)) {
				k.Observe(fmt.Sprintf("u%d", i), promote, nil)
				time.Sleep(125 * time.Millisecond)
			}
		}
		rotations(20 * time.Second)
		saved = 0
		rotations(2 * time.Minute)
		if saved > 9 {
			t.Errorf("in two minutes of eight rotations a second the book was written %d times, want at most 9", saved)
		}
		k.Observe("ci", create, errDenied)
		rotations(12 * time.Second)
		k.want(t, "[keyrot] ci: creating a key fails")
		k.Observe("ci", promote, nil)
		rotations(12 * time.Second)
		k.want(t, "[keyrot] ci: creating a key fails", "[keyrot] ci: resolved: creating a key fails")
		time.Sleep(time.Minute)
		raw, _, err := k.store.Setting(t.Context(), bookName)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, n := range b.Tally.Users {
			total += n
		}
		if want := 8*(20+120+12+12) + 1; total != want {
			t.Errorf("the digest counts %d rotations, want %d", total, want)
		}
	})
}

func TestTheDigestCountsRotations(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) { // begins at midnight UTC
		for range 24 * 6 {
			k.Observe("ci", promote, nil)
			k.Observe("web", promote, nil)
			time.Sleep(10 * time.Minute)
		}
		time.Sleep(time.Hour)
		k.want(t, "[keyrot] 288 rotations of 2 users")
		if text := k.in.all()[0].Text(); !strings.Contains(text, "   144  ci\n") {
			t.Errorf("digest = %s, want the counts", text)
		}
	})
}

func TestEachRotationIsToldIfAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := openDesk(t, &rotatetest.MemStore{}, &inbox{name: "mail"}, Each)
		k.Observe("ci", promote, nil)
		time.Sleep(time.Minute)
		k.want(t, "[keyrot] ci: a new key is handed out")
		k.stop()
	})
}

func TestTheOutboxSurvivesACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, in := &rotatetest.MemStore{}, &inbox{name: "mail", err: errors.New("down")}
		k := openDesk(t, store, in, Daily)
		k.Observe("ci", create, errDenied)
		time.Sleep(30 * time.Second)
		k.stop()
		in.set(errors.New("the answer was lost"), true)
		k = openDesk(t, store, in, Daily)
		time.Sleep(time.Hour)
		in.set(nil, false)
		time.Sleep(time.Hour)
		k.stop()
		if len(in.all()) < 2 {
			t.Fatalf("got %d messages, want repetitions", len(in.all()))
		}
		for _, m := range in.all() {
			if m.ID != in.all()[0].ID {
				t.Errorf("ids %s and %s, want one", m.ID, in.all()[0].ID)
			}
		}
		sent := len(in.all())
		k = openDesk(t, store, in, Daily)
		k.Observe("ci", create, errDenied) // known
		time.Sleep(time.Hour)
		k.stop()
		if len(in.all()) != sent {
			t.Error("the trouble was told again after a restart")
		}
	})
}

func TestAFailingChannelDoesNotHoldTheOthersUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad, good := &inbox{name: "bad", err: errors.New("down")}, &inbox{name: "good"}
		n := &Notifier{Settings: &rotatetest.MemStore{}, Channels: []Channel{bad, good}}
		n.Observe("ci", create, errDenied)
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		bad.set(nil, false)
		time.Sleep(time.Minute)
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(good.all()) != 1 || len(bad.all()) != 1 {
			t.Errorf("got %d and %d messages, want one each", len(good.all()), len(bad.all()))
		}
	})
}

func TestTwoProcessesTellOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, in := &rotatetest.MemStore{}, &inbox{name: "mail"}
		a, b := openDesk(t, store, in, Daily), openDesk(t, store, in, Daily)
		for range 50 {
			a.Observe("ci", create, errDenied)
			b.Observe("ci", create, errDenied)
			time.Sleep(3 * time.Second)
		}
		a.stop()
		b.stop()
		a.want(t, "[keyrot] ci: creating a key fails")
	})
}

func TestTroublesReachPeopleWithoutTheStore(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	full := func(string, string) error {
		if down.Load() {
			return errors.New("disk full")
		}
		return nil
	}
	bubbleOn(t, full, func(t *testing.T, k *desk) {
		k.Observe("ci", create, errDenied)
		time.Sleep(5 * time.Minute)
		k.want(t, "[keyrot] ci: creating a key fails")
		down.Store(false)
		time.Sleep(5 * time.Minute)
		k.want(t, "[keyrot] ci: creating a key fails")
	})
}

func TestAnAdoptedKeyIsForeignNoMore(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		k.Observe("ci", plan.Step{Action: plan.Notice, Reason: plan.ForeignKey, KeyID: "AKIAIOSFODNN7EXAMPLE"}, nil)
		time.Sleep(time.Minute)
		k.Observe("ci", plan.Step{Action: plan.Adopt, Reason: plan.Recovering, KeyID: "AKIAIOSFODNN7EXAMPLE"}, nil)
		time.Sleep(time.Minute)
		if m := k.in.all(); len(m) != 2 || !strings.Contains(m[1].Text(), "It is over") {
			t.Errorf("messages = %+v, want the trouble and its end", m)
		}
	})
}

func TestMessagesHoldNoWholeKeyIDs(t *testing.T) {
	bubble(t, func(t *testing.T, k *desk) {
		id := "AKIAIOSFODNN7EXAMPLE"
		k.Observe("ci", plan.Step{Action: plan.Deactivate, KeyID: id}, errors.New("AWS:\r\nkey "+id+",AKIAIOSFODNN7EXAMPL3 <b>"))
		k.Observe("ci", plan.Step{Action: plan.Notice, Reason: plan.ForeignKey, KeyID: id}, nil)
		time.Sleep(time.Minute)
		if len(k.in.all()) != 1 {
			t.Fatalf("%d messages, want 1", len(k.in.all()))
		}
		m := k.in.all()[0]
		for _, s := range []string{m.Subject, m.Text(), m.HTML()} {
			if strings.Contains(s, "AKIAIOSF") || strings.Contains(s, "<b>") && strings.Contains(s, "<html") {
				t.Errorf("message = %s, want short ids and escaped text", s)
			}
		}
		if !strings.Contains(m.Text(), "AKIA…LE") || !strings.Contains(m.HTML(), "AKIA…L3 &lt;b&gt;") {
			t.Errorf("message = %s", m.Text())
		}
	})
}

// TestMailFailureDoesNotChangeKeyState: keys move in the same way, at the same
// instants, whether mail goes out, fails or hangs.
func TestMailFailureDoesNotChangeKeyState(t *testing.T) {
	t.Parallel()
	lives := func(ch Channel) (events []string) {
		synctest.Test(t, func(t *testing.T) {
			aws := &rotatetest.AWS{}
			aws.AddUser("ci", "/", nil)
			store := &rotatetest.MemStore{}
			n := &Notifier{Settings: store, Channels: []Channel{ch}, Digest: Each}
			ctx, cancel := context.WithTimeout(t.Context(), 118*time.Minute) // nothing is due then
			defer cancel()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { _ = n.Run(ctx) })
			begin := time.Now()
			r := &rotate.Rotator{
				Clock: rotatetest.Clock(), IAM: aws, Store: store, Owner: "test",
				Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
				Observe: func(user string, s plan.Step, err error) {
					events = append(events, fmt.Sprint(time.Since(begin), s.Action, s.Reason, err))
					n.Observe(user, s, err)
				},
			}
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		return events
	}
	want := lives(&inbox{name: "mail"})
	if len(want) < 50 {
		t.Fatalf("%d steps in two hours, want more to compare", len(want))
	}
	for _, ch := range []Channel{&inbox{name: "mail", err: errors.New("554 no")}, silent{}} {
		if got := lives(ch); !slices.Equal(got, want) {
			t.Errorf("with a mail channel that fails (%T) the steps were\n%s\nwant\n%s", ch, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// silent is a channel that hangs until it is given up on.
type silent struct{}

func (silent) Name() string { return "silent" }

func (silent) Send(ctx context.Context, _ Message) error {
	<-ctx.Done()
	return ctx.Err()
}
