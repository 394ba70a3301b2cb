package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
)

func chain(t *testing.T, f *fake) *Audit {
	t.Helper()
	return &Audit{API: f.api(), Table: "keyrot", Sealer: sealer(t), Now: func() time.Time { return now }}
}

// writer is a chain of a process that may not query the table, as the API's
// function: whatever it meets but damage, it reads by key.
func writer(t *testing.T, f *fake) *Audit {
	t.Helper()
	a := chain(t, f)
	a.API.Query = func(context.Context, *ddb.QueryInput, ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
		return nil, errors.New("the log was queried")
	}
	return a
}

func appendN(t *testing.T, a *Audit, n int) {
	t.Helper()
	for i := range n {
		if err := a.Append(t.Context(), rotate.Event{Time: now, Action: fmt.Sprint("step", i), User: "ann"}); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
}

func TestAuditChain(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	if end, err := a.Verify(t.Context()); err != nil || end != (audit.Tail{}) {
		t.Errorf("Verify of an empty log = %v, %v", end, err)
	}
	appendN(t, a, 3)
	end, err := a.Verify(t.Context())
	if err != nil || end.Seq != 3 {
		t.Errorf("Verify = %v, %v, want 3 lines", end, err)
	}
	var b bytes.Buffer
	if err := a.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.VerifyBetween(&b, audit.Tail{}, end); err != nil || got != end {
		t.Errorf("the exported file verifies as %v, %v, want %v", got, err, end)
	}
	s := store(t, f)
	if chains, err := s.Chains(t.Context()); err != nil || len(chains) != 1 || chains[0] != "main" {
		t.Errorf("Chains = %v, %v, want [main]", chains, err)
	}
}

func TestAuditConcurrent(t *testing.T) {
	t.Parallel()
	f := newFake()
	appendN(t, writer(t, f), 1)
	logs := []*Audit{writer(t, f), writer(t, f), writer(t, f)} // as many processes
	const each = 40
	var wg sync.WaitGroup
	for _, l := range logs {
		for i := range each {
			wg.Go(func() {
				if err := l.Append(t.Context(), rotate.Event{Time: now, Action: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if strings.Contains(export(t, chain(t, f)), audit.ActionGap) {
		t.Error("the log tells of a gap")
	}
	if end, err := chain(t, f).Verify(t.Context()); err != nil || end.Seq != 1+each*uint64(len(logs)) {
		t.Errorf("Verify = %v, %v, want %d lines", end, err, 1+each*len(logs))
	}
}

// The log says what was done to it and goes on. What was lost keeps
// verification failing.
func TestAuditDamage(t *testing.T) {
	t.Parallel()
	const tail, second, third = "audit\x00main", "audit#main\x000000000000000000002", "audit#main\x000000000000000000003"
	for name, c := range map[string]struct {
		damage func(f *fake)
		before bool // verification fails at once
		gap    bool // the next append notices and says so
		after  bool // verification fails for ever, if another process appends
	}{
		"a changed line": {func(f *fake) {
			f.items[second][attrLine] = text(strings.Replace(f.items[second].text(attrLine), "ann", "eve", 1))
		}, true, false, true},
		"a line gone":         {func(f *fake) { delete(f.items, second) }, true, false, true},
		"the last line gone":  {func(f *fake) { delete(f.items, third) }, true, false, true},
		"the end gone":        {func(f *fake) { delete(f.items, tail) }, true, true, false},
		"the end set back":    {func(f *fake) { f.items[tail][attrSeq] = number(1) }, true, true, false},
		"a forged end":        {func(f *fake) { f.items[tail][attrHash] = text(strings.Repeat("0", 64)) }, true, true, true},
		"the end's seal gone": {func(f *fake) { f.items[tail][attrSealed] = blob([]byte{1}) }, true, true, false},
		"rubbish at the end":  {func(f *fake) { delete(f.items, tail); f.items[third][attrLine] = text("x\n") }, true, true, true},
	} {
		for _, same := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the same process: %t", name, same), func(t *testing.T) {
				t.Parallel()
				f := newFake()
				a := chain(t, f)
				appendN(t, a, 3)
				c.damage(f)
				if _, err := a.Verify(t.Context()); errors.Is(err, audit.ErrBroken) != c.before {
					t.Errorf("Verify before the next event = %v, want broken: %t", err, c.before)
				}
				after := c.after
				if !same {
					a = chain(t, f)
				} else if name == "a forged end" {
					after = false // it knows the true one
				}
				appendN(t, a, 2)
				if _, err := a.Verify(t.Context()); errors.Is(err, audit.ErrBroken) != after {
					t.Errorf("Verify after it = %v, want broken: %t", err, after)
				}
				if got := strings.Contains(export(t, a), audit.ActionGap); got != c.gap {
					t.Errorf("the log tells of a gap: %t, want %t", got, c.gap)
				}
				if got := strings.Count(export(t, a), `"action":"step1"`); got != 2 && name != "a line gone" && name != "a changed line" {
					t.Errorf("%d lines of step1, want 2", got)
				}
			})
		}
	}
}

func export(t *testing.T, a *Audit) string {
	t.Helper()
	var b bytes.Buffer
	if err := a.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A process dies, or loses an answer, between the block and the end.
func TestAuditTakesOver(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		nth   int // write of the third append: the block, then the end
		after bool
		lines uint64
	}{
		"the block was not put":          {1, false, 3},
		"the block was put":              {1, true, 4},
		"the end was not moved":          {2, false, 4},
		"the end was moved, nobody knew": {2, true, 4},
	} {
		for _, same := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the same process: %t", name, same), func(t *testing.T) {
				t.Parallel()
				f := newFake()
				a := writer(t, f)
				appendN(t, a, 2)
				f.fault = once(t, "PutItem", c.nth, c.after, down)
				if err := a.Append(t.Context(), rotate.Event{Time: now, Action: "third"}); !errors.Is(err, down) {
					t.Fatalf("Append = %v, want %v", err, down)
				}
				if !same {
					a = writer(t, f)
				}
				appendN(t, a, 1)
				end, err := chain(t, f).Verify(t.Context())
				if err != nil || end.Seq != c.lines {
					t.Errorf("Verify = %v, %v, want %d lines", end, err, c.lines)
				}
				if log := export(t, chain(t, f)); strings.Contains(log, audit.ActionGap) {
					t.Errorf("the log tells of a gap:\n%s", log)
				}
			})
		}
	}
}

// The first event of a log loses an answer, or its process dies, at any of its
// writes: the log has begun, and nothing looks like damage.
func TestAuditBegins(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for nth := 1; ; nth++ {
		for _, after := range []bool{false, true} {
			f := newFake()
			f.fault = once(t, "PutItem", nth, after, down)
			err := writer(t, f).Append(t.Context(), rotate.Event{Time: now, Action: "first"})
			if err == nil && nth > 2 {
				return // it makes fewer writes
			}
			if !errors.Is(err, down) {
				t.Fatalf("write %d, after it: %t: Append = %v, want %v", nth, after, err, down)
			}
			appendN(t, writer(t, f), 1)
			if _, err := chain(t, f).Verify(t.Context()); err != nil {
				t.Errorf("write %d, after it: %t: Verify = %v", nth, after, err)
			}
			if log := export(t, chain(t, f)); strings.Contains(log, audit.ActionGap) {
				t.Errorf("write %d, after it: %t: the log tells of a gap:\n%s", nth, after, log)
			}
		}
	}
}

// Several processes append while writes fail before and after they took effect:
// what was acknowledged is there once, nothing is there twice, and nothing looks
// like damage.
func TestAuditUnderFaults(t *testing.T) {
	t.Parallel()
	f := newFake()
	var n atomic.Int64
	f.fault = func(string, bool) error {
		if n.Add(1)%7 == 0 {
			return errors.New("down")
		}
		return nil
	}
	var wg sync.WaitGroup
	acknowledged := make([]bool, 120)
	for p := range 3 {
		l := chain(t, f)
		wg.Go(func() {
			for i := p; i < len(acknowledged); i += 3 {
				if i%30 > 26 {
					l = chain(t, f) // it is started anew
				}
				acknowledged[i] = l.Append(t.Context(), rotate.Event{Time: now, Action: fmt.Sprintf("event %d.", i)}) == nil
			}
		})
	}
	wg.Wait()
	f.fault = nil
	l := chain(t, f)
	appendN(t, l, 1)
	if _, err := l.Verify(t.Context()); err != nil {
		t.Errorf("Verify = %v", err)
	}
	log, lost := export(t, l), 0
	for i, ok := range acknowledged {
		switch got := strings.Count(log, fmt.Sprintf("event %d.", i)); {
		case got > 1, ok && got != 1:
			t.Errorf("event %d, acknowledged: %t, is there %d times", i, ok, got)
		case !ok:
			lost++
		}
	}
	if lost == 0 || strings.Contains(log, audit.ActionGap) {
		t.Errorf("%d appends failed, want some; a gap is told: %t", lost, strings.Contains(log, audit.ActionGap))
	}
}

// Only who has the key may have put what stands after the end.
func TestAuditForgedBlock(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(f *fake, a *Audit, it item){
		"without a proof": func(*fake, *Audit, item) {},
		"with a proof under no key": func(_ *fake, a *Audit, it item) {
			it[attrMAC] = blob(a.mac(nil, make([]byte, 8), []byte(it.text(attrLine))))
		},
		"with the proof of another": func(f *fake, _ *Audit, it item) { it[attrMAC] = f.items["audit#main\x000000000000000000002"][attrMAC] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			a := chain(t, f)
			appendN(t, a, 2)
			end, err := a.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			line, _ := audit.Frame(nil, end, []byte(`{"time":"2026-11-23T18:00:00Z","action":"forged"}`))
			it := key("audit#main", digits(3))
			it[attrLine] = text(string(line))
			forge(f, a, it)
			f.items[place(it)] = it
			appendN(t, chain(t, f), 1)
			if log := export(t, a); !strings.Contains(log, "it has lines up to 3") {
				t.Errorf("the log tells of no gap:\n%s", log)
			}
		})
	}
}

// The SDK repeats a request whose answer was lost.
func TestAuditRepeatedRequests(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	put := a.API.PutItem
	a.API.PutItem = func(ctx context.Context, in *ddb.PutItemInput, o ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
		if _, err := put(ctx, in, o...); err != nil {
			return nil, err
		}
		return put(ctx, in, o...)
	}
	appendN(t, a, 3)
	if end, err := a.Verify(t.Context()); err != nil || end.Seq != 3 {
		t.Errorf("Verify = %v, %v, want 3 lines", end, err)
	}
}

// A chain whose end was written by an earlier keyrot, one item a line, goes on.
func TestAuditOfEarlierVersion(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	line, end := audit.Frame(nil, audit.Tail{}, []byte(`{"time":"2026-11-23T18:00:00Z","action":"old"}`))
	it := key("audit#main", digits(1))
	it[attrLine] = text(string(line))
	f.items[place(it)] = it
	raw, _ := json.Marshal(end)
	sealed, err := a.Sealer.Seal(t.Context(), raw, a.aad())
	if err != nil {
		t.Fatal(err)
	}
	it = key("audit", "main")
	it[attrSeq], it[attrHash], it[attrSealed] = number(1), text(end.Hash), blob(sealed)
	f.items[place(it)] = it
	appendN(t, a, 2)
	if end, err := a.Verify(t.Context()); err != nil || end.Seq != 3 || strings.Contains(export(t, a), audit.ActionGap) {
		t.Errorf("Verify = %v, %v, want 3 lines and no gap", end, err)
	}
}

// TestAuditNeverExpires: DynamoDB deletes what has expired in any order, which
// would look like tampering, and tampering like it.
func TestAuditNeverExpires(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	appendN(t, a, 3)
	for at, it := range f.items {
		if it.number(attrExpires) != 0 {
			t.Errorf("%q expires at %d", at, it.number(attrExpires))
		}
	}
	for n := range uint64(3) {
		at := place(key("audit#main", digits(int64(n+1))))
		it := f.items[at]
		delete(f.items, at)
		if _, err := a.Verify(t.Context()); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("Verify without line %d = %v, want %v", n+1, err, audit.ErrBroken)
		}
		f.items[at] = it
	}
}

func TestAuditFailures(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	down := errors.New("down")
	f.fault = once(t, "PutItem", 1, false, down)
	if err := a.Append(t.Context(), rotate.Event{Action: "a"}); !errors.Is(err, down) {
		t.Errorf("Append = %v, want %v", err, down)
	}
	appendN(t, chain(t, f), 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Append(ctx, rotate.Event{Action: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want %v", err, context.Canceled)
	}
	if err := a.Append(t.Context(), rotate.Event{Action: "a", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("an event that JSON cannot express was recorded")
	}
	unsealed := chain(t, f)
	unsealed.Sealer = nil
	if err := unsealed.Append(t.Context(), rotate.Event{Action: "a"}); !errors.Is(err, seal.ErrKeyMissing) {
		t.Errorf("Append without a key = %v, want %v", err, seal.ErrKeyMissing)
	}
	a = chain(t, f)
	a.API.GetItem = func(context.Context, *ddb.GetItemInput, ...func(*ddb.Options)) (*ddb.GetItemOutput, error) {
		return nil, down
	}
	if err := a.Append(t.Context(), rotate.Event{Action: "a"}); !errors.Is(err, down) {
		t.Errorf("Append = %v, want %v", err, down)
	}
	if _, err := a.Verify(t.Context()); !errors.Is(err, down) {
		t.Errorf("Verify = %v, want %v", err, down)
	}
}
