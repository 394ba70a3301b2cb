package rotate_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// machine is a machine whose clock is off by something, before an AWS whose
// clock is the bubble's.
type machine struct {
	*rotate.Clock
	mu    sync.Mutex
	off   time.Duration // of this machine's clock
	lie   time.Duration // of AWS's answers
	down  bool          // AWS does not answer
	asked int
}

func newMachine(off time.Duration) *machine {
	m := &machine{off: off}
	m.Clock = &rotate.Clock{
		Wall: func() time.Time {
			m.mu.Lock()
			defer m.mu.Unlock()
			return time.Now().Add(m.off)
		},
		Ask: func(context.Context) error { return m.ask(50 * time.Millisecond) },
	}
	return m
}

// ask makes a call that takes so long and is dated in its middle, in whole seconds.
func (m *machine) ask(took time.Duration) error {
	dated := m.Begin()
	time.Sleep(took / 2)
	m.mu.Lock()
	date, down := time.Now().Add(m.lie).Truncate(time.Second), m.down
	m.asked++
	m.mu.Unlock()
	time.Sleep(took - took/2)
	if down {
		return errors.New("no answer")
	}
	dated(date)
	return nil
}

func (m *machine) set(f func(*machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// error is how far the clock is from AWS's.
func (m *machine) error() time.Duration { return time.Until(m.Now()).Abs() }

func TestClock(t *testing.T) {
	t.Parallel()
	ask := func(t *testing.T, m *machine) {
		t.Helper()
		if err := m.ask(50 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		off   time.Duration // of the machine
		then  func(t *testing.T, m *machine)
		known bool
		wrong time.Duration // at least so much; 0: right, to within 2 s
	}{
		{"before the first answer the time is the machine's and not known", time.Hour, func(*testing.T, *machine) {}, false, time.Hour},
		{"one answer tells it to a machine that is an hour ahead", time.Hour, ask, true, 0},
		{"one answer tells it to a machine that is a day behind", -24 * time.Hour, ask, true, 0},
		{"a machine that is right keeps its fractions of a second", 0, func(t *testing.T, m *machine) {
			time.Sleep(300 * time.Millisecond)
			ask(t, m)
			if e := m.error(); e > time.Millisecond {
				t.Errorf("the clock is %s off, want what the machine says", e)
			}
		}, true, 0},
		{"setting the machine's clock does not change the time, but it is asked for again", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			m.set(func(m *machine) { m.off = 3 * time.Hour })
		}, false, 0},
		{"and it is known again after an answer", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			m.set(func(m *machine) { m.off = 3 * time.Hour })
			ask(t, m)
		}, true, 0},
		{"an answer to a question from before a suspend tells nothing", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			dated := m.Begin()
			m.set(func(m *machine) { m.off += 10 * time.Minute })
			dated(time.Now().Add(-10 * time.Minute))
		}, false, 0},
		{"a single answer that contradicts makes it unknown and changes nothing", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			m.set(func(m *machine) { m.lie = time.Hour })
			ask(t, m)
		}, false, 0},
		{"an answer that agrees with the earlier ones ends the doubt", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			m.set(func(m *machine) { m.lie = time.Hour })
			ask(t, m)
			m.set(func(m *machine) { m.lie = 0 })
			ask(t, m)
		}, true, 0},
		{"a second answer that contradicts in the same way is believed", 0, func(t *testing.T, m *machine) {
			ask(t, m)
			m.set(func(m *machine) { m.lie = time.Hour })
			ask(t, m)
			time.Sleep(5 * time.Second)
			ask(t, m)
		}, true, time.Hour},
		{"slow answers do not contradict fast ones", 0, func(t *testing.T, m *machine) {
			for i := range 40 {
				if err := m.ask(time.Duration(i%4) * 2 * time.Second); err != nil {
					t.Fatal(err)
				}
				if !m.Known() {
					t.Fatalf("the time is in doubt after answer %d", i)
				}
			}
		}, true, 0},
		{"a slow first answer is corrected by faster ones", time.Hour, func(t *testing.T, m *machine) {
			if err := m.ask(8 * time.Second); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				time.Sleep(900 * time.Millisecond)
				ask(t, m)
			}
			if e := m.error(); e > 300*time.Millisecond {
				t.Errorf("the clock is %s off after ten fast answers", e)
			}
		}, true, 0},
		{"an answer without a date tells nothing", time.Hour, func(_ *testing.T, m *machine) { m.Begin()(time.Time{}) }, false, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMachine(tt.off)
				tt.then(t, m)
				if got := m.Known(); got != tt.known {
					t.Errorf("Known() = %v, want %v", got, tt.known)
				}
				if e := m.error(); tt.wrong == 0 && e > 2*time.Second || e < tt.wrong-2*time.Second {
					t.Errorf("Now() is %s off, want %s", e, tt.wrong)
				}
			})
		})
	}
}

func TestSettleAsksOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMachine(time.Hour)
		m.set(func(m *machine) { m.down = true })
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if m.Settle(t.Context()) {
					t.Error("Settle() = true while nobody answers")
				}
			})
		}
		wg.Wait()
		if m.asked != 1 {
			t.Errorf("AWS was asked %d times by 20 callers at once, want once", m.asked)
		}
		m.set(func(m *machine) { m.down = false })
		if m.Settle(t.Context()) || m.asked != 1 {
			t.Errorf("Settle() right after a failure asked again")
		}
		time.Sleep(6 * time.Second)
		if !m.Settle(t.Context()) || m.error() > 2*time.Second {
			t.Errorf("Settle() does not ask again after a pause; the clock is %s off", m.error())
		}
	})
}

// served is a house with a key for ci, handed out by a process of its own that
// has not heard of AWS yet.
func served(t *testing.T, off time.Duration) (*house, *machine, func() (rotate.Credential, error)) {
	t.Helper()
	h := newHouse("ci")
	h.turn(t, rotate.Options{})
	m := newMachine(off)
	d := &rotate.Dispenser{Store: h.store, Clock: m.Clock}
	return h, m, func() (rotate.Credential, error) { return d.Give(t.Context(), "ci", rotate.Recipient{Caller: "test"}) }
}

func promise(t *testing.T, h *house) time.Time {
	t.Helper()
	e, err := h.store.Load(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	return e.Record.In(plan.Current).Promise
}

func TestHandOutBeforeAWSHasToldTheTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		off   time.Duration // of the machine
		down  bool          // AWS does not answer
		after time.Duration // since the promotion
		err   error
		rolls bool
	}{
		{"AWS is asked first, and a machine that is a day ahead serves what is stored", 24 * time.Hour, false, time.Minute, nil, false},
		{"AWS is asked first, and the promise is rolled by AWS's clock", 24 * time.Hour, false, 20 * time.Minute, nil, true},
		{"a machine that is a day behind rolls by AWS's clock, too", -24 * time.Hour, false, 20 * time.Minute, nil, true},
		{"AWS is down: what is stored is served, unrolled", 0, true, time.Minute, nil, false},
		{"AWS is down: close to its end it is not rolled either", 0, true, 11*time.Minute + 20*time.Second, nil, false},
		{"AWS is down and what is stored has passed by this machine's clock: nothing is saved", 24 * time.Hour, true, time.Minute, rotate.ErrNoTime, false},
		{"AWS is down and what is stored has passed", 0, true, 20 * time.Minute, rotate.ErrNoTime, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h, m, give := served(t, tt.off)
				m.set(func(m *machine) { m.down = tt.down })
				time.Sleep(tt.after)
				was := promise(t, h)
				c, err := give()
				if !errors.Is(err, tt.err) || err != nil && !errors.Is(err, rotate.ErrNoKeyReady) {
					t.Fatalf("Give() = %v, want %v", err, tt.err)
				}
				now := promise(t, h)
				if rolled := now.After(was); rolled != tt.rolls {
					t.Errorf("the saved promise moved: %v, want %v", rolled, tt.rolls)
				}
				if ahead := time.Until(now); tt.rolls && ahead > 2*time.Minute {
					t.Errorf("the saved promise lies %s ahead by AWS's clock", ahead)
				}
				if err == nil && !c.Expiration.Equal(now) {
					t.Errorf("the Expiration %s is not the promise %s", c.Expiration, now)
				}
			})
		})
	}
}

func TestAfterASuspendAWSIsAskedBeforeTheNextHandOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, m, give := served(t, 0)
		if _, err := give(); err != nil {
			t.Fatal(err)
		}
		asked := m.asked
		// Both AWS's clock and this machine's ran on for 20 minutes, while the
		// monotonic clock stood still.
		m.set(func(m *machine) { m.off, m.lie = 20*time.Minute, 20*time.Minute })
		c, err := give()
		if err != nil || m.asked == asked {
			t.Fatalf("Give() = %v, and AWS was asked %d times", err, m.asked-asked)
		}
		if left := c.Expiration.Sub(time.Now().Add(20 * time.Minute)); left < 10*time.Second {
			t.Errorf("the Expiration lies %s ahead by AWS's clock", left)
		}
	})
}

func TestASuspendInMidPassEndsIt(t *testing.T) {
	t.Parallel()
	for _, op := range []rotatetest.Op{rotatetest.ListKeys, rotatetest.CallerIdentity, rotatetest.CreateKey} {
		t.Run(string(op), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := newHouse("ci")
				m := newMachine(0)
				h.Clock = m.Clock
				h.turn(t, rotate.Options{})
				m.set(func(m *machine) { m.down = true })
				suspended, changed := false, 0
				h.aws.Fault = func(o rotatetest.Op, _, _ string) rotatetest.Fault {
					switch {
					case o == op && !suspended:
						suspended = true
						m.set(func(m *machine) { m.off, m.lie = time.Hour, time.Hour })
					case suspended && (o == rotatetest.CreateKey || o == rotatetest.UpdateKey || o == rotatetest.DeleteKey):
						changed++
					}
					return rotatetest.None
				}
				rep, err := h.RunOnce(t.Context(), rotate.Options{Force: true, Patience: time.Minute})
				if err != nil || !suspended {
					t.Fatalf("RunOnce() = %v, suspended: %v", err, suspended)
				}
				if changed > 0 {
					t.Errorf("%d calls changed something after the suspend: %v", changed, rep.Users)
				}
				m.set(func(m *machine) { m.down = false })
				h.aws.Fault = nil
				time.Sleep(10 * time.Second)
				h.turn(t, rotate.Options{})
				if got := len(h.aws.Truth("ci")); got > 2 {
					t.Errorf("%d keys are left", got)
				}
			})
		})
	}
}

func TestAnOrderFromTheFutureIsDatedAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, leaked := oneKey(t)
		m := newMachine(24 * time.Hour)
		m.set(func(m *machine) { m.down = true })
		away := &rotate.Rotator{Clock: m.Clock, IAM: h.aws, Store: h.store, Owner: "command"}
		if _, err := away.Order(t.Context(), "ci", plan.Order{Kind: plan.Burn, By: "operator"}); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			h.turn(t, rotate.Options{})
			time.Sleep(10 * time.Second)
		}
		if h.works(leaked) {
			t.Error("a key that was ordered to be burned by a machine a day ahead works two minutes later")
		}
	})
}

// TestARollbackFromTheFuture: the proof that it waits for comes at its time, not a
// day later.
func TestARollbackFromTheFuture(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h, old, _ := twoKeys(t)
		m := newMachine(24 * time.Hour)
		m.set(func(m *machine) { m.down = true })
		away := &rotate.Rotator{Clock: m.Clock, IAM: h.aws, Store: h.store, Owner: "command"}
		if _, err := away.Order(t.Context(), "ci", plan.Order{Kind: plan.Rollback, By: "operator"}); err != nil {
			t.Fatal(err)
		}
		h.run(t, 30*time.Second)
		if now := h.give(t, "ci"); now.KeyID != old.KeyID {
			t.Error("a rollback that was ordered by a machine a day ahead is not done half a minute later")
		}
	})
}

// TestTwoProcessesOfOneHost: in containers, host and process id may be the same.
func TestTwoProcessesOfOneHost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		process := func() *rotate.Rotator {
			return &rotate.Rotator{Clock: rotatetest.Clock(), IAM: h.aws, Store: h.store, Select: h.Select}
		}
		one, other := process(), process()
		met := false
		h.aws.Fault = func(op rotatetest.Op, _, _ string) rotatetest.Fault {
			if op == rotatetest.CreateKey && !met {
				met = true
				rep, err := other.RunOnce(t.Context(), rotate.Options{})
				if err != nil || changed(rep) {
					t.Errorf("the other process acts in the middle of a pass: %+v, %v", rep, err)
				}
			}
			return rotatetest.None
		}
		if _, err := one.RunOnce(t.Context(), rotate.Options{Patience: time.Minute}); err != nil || !met {
			t.Fatalf("RunOnce() = %v, met: %v", err, met)
		}
		host, _ := os.Hostname()
		if one.Owner == other.Owner || !strings.HasPrefix(one.Owner, host+"/") {
			t.Errorf("the processes are called %q and %q", one.Owner, other.Owner)
		}
	})
}
