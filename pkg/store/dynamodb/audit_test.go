package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	logs := []*Audit{chain(t, f), chain(t, f), chain(t, f)} // as many processes
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
	if end, err := logs[0].Verify(t.Context()); err != nil || end.Seq != each*uint64(len(logs)) {
		t.Errorf("Verify = %v, %v, want %d lines", end, err, each*len(logs))
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
		after  bool // verification fails for ever
	}{
		"a changed line": {func(f *fake) {
			f.items[second][attrLine] = text(strings.Replace(f.items[second].text(attrLine), "ann", "eve", 1))
		}, true, false, true},
		"a line gone":         {func(f *fake) { delete(f.items, second) }, true, false, true},
		"the last line gone":  {func(f *fake) { delete(f.items, third) }, true, false, true},
		"the end gone":        {func(f *fake) { delete(f.items, tail) }, false, true, false},
		"the end set back":    {func(f *fake) { f.items[tail][attrSeq] = number(1) }, true, true, false},
		"a forged end":        {func(f *fake) { f.items[tail][attrHash] = text(strings.Repeat("0", 64)) }, true, true, true},
		"the end's seal gone": {func(f *fake) { f.items[tail][attrSealed] = blob([]byte{1}) }, true, true, false},
		"rubbish at the end":  {func(f *fake) { delete(f.items, tail); f.items[third][attrLine] = text("x\n") }, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			a := chain(t, f)
			appendN(t, a, 3)
			c.damage(f)
			if _, err := a.Verify(t.Context()); errors.Is(err, audit.ErrBroken) != c.before {
				t.Errorf("Verify before the next event = %v, want broken: %t", err, c.before)
			}
			appendN(t, a, 2)
			if _, err := a.Verify(t.Context()); errors.Is(err, audit.ErrBroken) != c.after {
				t.Errorf("Verify after it = %v, want broken: %t", err, c.after)
			}
			var b bytes.Buffer
			if err := a.Export(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(b.String(), audit.ActionGap); got != c.gap {
				t.Errorf("the log tells of a gap: %t, want %t", got, c.gap)
			}
		})
	}
}

func TestAuditExpired(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	a.Keep = time.Hour
	appendN(t, a, 3)
	if got := f.items["audit#main\x000000000000000000001"].number(attrExpires); got != now.Add(time.Hour).Unix() {
		t.Errorf("a line expires at %d", got)
	}
	delete(f.items, "audit#main\x000000000000000000001") // as DynamoDB does
	if end, err := a.Verify(t.Context()); err != nil || end.Seq != 3 {
		t.Errorf("Verify after the first line expired = %v, %v", end, err)
	}
	a.Keep = 0
	if _, err := a.Verify(t.Context()); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("Verify of a log that is kept for ever = %v, want %v", err, audit.ErrBroken)
	}
}

func TestAuditFailures(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	down := errors.New("down")
	f.fault = once(t, "TransactWriteItems", 1, false, down)
	if err := a.Append(t.Context(), rotate.Event{Action: "a"}); !errors.Is(err, down) {
		t.Errorf("Append = %v, want %v", err, down)
	}
	appendN(t, a, 1)
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
