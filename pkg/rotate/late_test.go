package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// diskLog is an audit log on a disk that may be full, or hang.
type diskLog struct {
	mu    sync.Mutex
	full  bool
	hangs bool
	room  int // lines that still fit when full
	lines []rotate.Event
}

func (l *diskLog) Append(ctx context.Context, e rotate.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hangs {
		l.mu.Unlock()
		<-ctx.Done()
		l.mu.Lock()
		return ctx.Err()
	}
	if l.full && l.room == 0 {
		return errors.New("no space left on device")
	}
	l.room = max(0, l.room-1)
	l.lines = append(l.lines, e)
	return nil
}

func (l *diskLog) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// lines says in words what a log has.
func (l *diskLog) words() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.lines {
		out = append(out, strings.TrimSpace(e.Action+" "+e.Caller))
	}
	return strings.Join(out, ", ")
}

func TestFullDiskServesFromMemoryAndRecordsLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		log := &diskLog{}
		late := &rotate.Late{Audit: log, Handouts: h.store}
		h.Audit = late
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store, Late: late}
		give := func(caller string) rotate.Credential {
			t.Helper()
			c, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: caller, Addr: "192.0.2.1"})
			if err != nil {
				t.Fatalf("Give to %s = %v", caller, err)
			}
			return c
		}
		give("early")
		log.set(func() { log.full = true })
		for range 3 {
			give("web")
			time.Sleep(700 * time.Millisecond)
		}
		c := give("batch")
		if !h.works(c) || late.Waiting() != 2 || log.words() != "handout early" {
			t.Fatalf("while the disk is full: %d wait, the log has %s", late.Waiting(), log.words())
		}
		time.Sleep(11 * time.Minute)
		_, _ = h.RunOnce(t.Context(), rotate.Options{}) // its report says that nothing could be recorded
		if n := h.aws.Calls(rotatetest.CreateKey); n != 1 {
			t.Errorf("%d keys were created, want none while the disk is full", n-1)
		}
		log.set(func() { log.full = false })
		h.turn(t, rotate.Options{})
		got := strings.Replace(log.words(), "handout batch, handout web", "handout web, handout batch", 1) // in any order
		if !strings.HasPrefix(got, "handout early, handout web, handout batch, handouts_late, create, create") {
			t.Errorf("the log has %s, want what was kept before all else, and that it is late", got)
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		for _, e := range log.lines {
			switch {
			case e.Action == rotate.ActionLate && !strings.Contains(e.Reason, "4 hand-outs between ") || e.Action == rotate.ActionLate && !strings.Contains(e.Reason, "no space left"):
				t.Errorf("the gap is recorded as %q", e.Reason)
			case e.Caller == "web" && !strings.HasPrefix(e.Reason, "3 times until "):
				t.Errorf("three hand-outs are recorded as %q", e.Reason)
			}
		}
		if holders, err := h.store.Holders(t.Context(), "ci", c.KeyID); err != nil || len(holders) != 3 {
			t.Errorf("Holders = %v, %v, want all three", holders, err)
		}
		if late.Waiting() != 0 || late.Recorded() != 4 {
			t.Errorf("%d wait, %d were recorded late, want 0 and 4", late.Waiting(), late.Recorded())
		}
	})
}

// What a disk takes before it is full again is not recorded twice.
func TestKeptHandoutsAreRecordedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := &diskLog{full: true}
		late := &rotate.Late{Audit: log}
		for i := range 200 {
			if err := late.Handout(t.Context(), rotate.Event{Action: "handout", Caller: fmt.Sprint(i), Time: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = late.Run(ctx) }()
		for range 5 {
			time.Sleep(10 * time.Second)
			log.set(func() { log.room = 30 })
		}
		log.set(func() { log.full = false })
		time.Sleep(10 * time.Second)
		seen := map[string]int{}
		gaps := 0
		log.mu.Lock()
		defer log.mu.Unlock()
		for _, e := range log.lines {
			if seen[e.Caller]++; e.Action == rotate.ActionLate {
				gaps++
			}
		}
		if len(seen) != 201 || len(log.lines) != 201 || gaps != 1 {
			t.Errorf("%d lines, %d different, %d of them tell of the gap, want 201, 201 and 1", len(log.lines), len(seen), gaps)
		}
	})
}

// An index that fails alone keeps nothing from being changed, and gets what it
// lacks later, without a second line in the log.
func TestIndexFailsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log, index := &diskLog{}, &index{fails: true}
		late := &rotate.Late{Audit: log, Handouts: index}
		if err := late.Handout(t.Context(), rotate.Event{Action: "handout", Caller: "web"}); err != nil {
			t.Fatal(err)
		}
		if err := late.Append(t.Context(), rotate.Event{Action: "create"}); err != nil {
			t.Errorf("Append while the index fails = %v", err)
		}
		index.fails = false
		time.Sleep(2 * time.Second)
		if err := late.Flush(t.Context()); err != nil {
			t.Errorf("Flush = %v", err)
		}
		if got := log.words(); got != "handout web, create" || index.n != 1 || late.Waiting() != 0 {
			t.Errorf("the log has %s, the index %d, %d wait, want each once", got, index.n, late.Waiting())
		}
	})
}

// index is an index of hand-outs that may fail.
type index struct {
	rotate.Handouts
	fails bool
	n     int
}

func (x *index) RecordHandout(context.Context, string, string, string, string, time.Time) error {
	if x.fails {
		return errors.New("disk is full")
	}
	x.n++
	return nil
}

// Memory is bounded: beyond it, a key is not handed out without a record.
func TestKeptHandoutsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		late := &rotate.Late{Audit: failingAudit{}}
		var err error
		n := 0
		for ; err == nil && n < 20_000; n++ {
			err = late.Handout(t.Context(), rotate.Event{Caller: fmt.Sprint(n)})
		}
		if err == nil || n != 10_001 {
			t.Errorf("%d hand-outs were kept, then %v, want 10,000 and an error", n-1, err)
		}
		if err := late.Handout(t.Context(), rotate.Event{Caller: "1"}); err != nil {
			t.Errorf("a hand-out that is kept already: %v", err)
		}
		if err := late.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "10000 hand-outs are not in the audit log") {
			t.Errorf("Close = %v, want it to say what is lost", err)
		}
	})
}

// A store and a log that hang, as a network does, delay a hand-out by seconds.
func TestHangingStoreServesFromMemory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		log := &diskLog{}
		store := &hangingStore{MemStore: h.store}
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: store, Late: &rotate.Late{Audit: log}}
		c, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "web"})
		if err != nil {
			t.Fatal(err)
		}
		log.set(func() { log.hangs = true })
		store.hangs = true
		for range 60 {
			began := time.Now()
			got, err := d.Give(t.Context(), "ci", rotate.Recipient{Caller: "web"})
			if err != nil || got.KeyID != c.KeyID || !got.Expiration.Equal(c.Expiration) {
				t.Fatalf("Give while all hangs = %s, %v", got.KeyID, err)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Fatalf("a hand-out took %s", d)
			}
			time.Sleep(time.Second)
		}
	})
}

// Attempts that begin at different moments each get their time, and a caller
// that has less keeps to that.
func TestEachAttemptHasItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := newHouse("ci")
		h.turn(t, rotate.Options{})
		log := &diskLog{}
		late := &rotate.Late{Audit: log}
		give := func(ctx context.Context) (took time.Duration, err error) {
			began := time.Now()
			_, err = (&rotate.Dispenser{Clock: rotatetest.Clock(), Store: h.store, Late: late}).Give(ctx, "ci", rotate.Recipient{Caller: "web"})
			return time.Since(began), err
		}
		if _, err := give(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.set(func() { log.hangs = true })
		for _, since := range []time.Duration{0, 50 * time.Millisecond, time.Second, 10 * time.Second} {
			time.Sleep(since + 2*time.Second) // no attempt is made for a moment after one that failed
			if took, err := give(t.Context()); err != nil || took < 1900*time.Millisecond || took > 2*time.Second {
				t.Errorf("a hand-out while the log hangs took %s, %v, want about 2 s", took, err)
			}
		}
		time.Sleep(2 * time.Second)
		hasty, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if took, err := give(hasty); !errors.Is(err, context.DeadlineExceeded) || took != 300*time.Millisecond {
			t.Errorf("a hand-out in 300 ms took %s, %v, want no longer", took, err)
		}
	})
}

type hangingStore struct {
	*rotatetest.MemStore
	hangs bool
}

func (s *hangingStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	if s.hangs {
		<-ctx.Done()
		return rotate.Entry{}, ctx.Err()
	}
	return s.MemStore.Load(ctx, user)
}
