package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/audit"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// more appends events that others are to follow.
func more(t *testing.T, a *Audit, actions ...string) {
	t.Helper()
	for _, action := range actions {
		if err := a.Append(t.Context(), rotate.Event{Time: now, Action: action, More: true}); err != nil {
			t.Fatalf("Append(%s): %v", action, err)
		}
	}
}

func flush(t *testing.T, a *Audit) {
	t.Helper()
	if err := a.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}
}

// sound fails unless the log holds the actions in that order, and nothing else.
func sound(t *testing.T, f *fake, actions ...string) {
	t.Helper()
	a := chain(t, f)
	if end, err := a.Verify(t.Context()); err != nil || end.Seq != uint64(len(actions)) {
		t.Errorf("Verify = %v, %v, want %d lines", end, err, len(actions))
	}
	var got []string
	for line := range strings.Lines(export(t, a)) {
		_, action, _ := strings.Cut(line, `"action":"`)
		action, _, _ = strings.Cut(action, `"`)
		got = append(got, action)
	}
	if fmt.Sprint(got) != fmt.Sprint(actions) {
		t.Errorf("the log has %v, want %v", got, actions)
	}
}

func TestTheEndMovesOnceForAPass(t *testing.T) {
	t.Parallel()
	f := newFake()
	a, at := chain(t, f), now
	a.Now = func() time.Time { return at }
	appendN(t, a, 1)
	moves, put := 0, a.API.PutItem
	a.API.PutItem = func(ctx context.Context, in *ddb.PutItemInput, o ...func(*ddb.Options)) (*ddb.PutItemOutput, error) {
		if item(in.Item).text(attrPK) == kindTail {
			moves++
		}
		return put(ctx, in, o...)
	}
	more(t, a, "a", "b", "c")
	sound(t, f, "step0", "a", "b", "c") // also without the end
	if moves != 0 {
		t.Errorf("the end moved %d times while more was to come", moves)
	}
	flush(t, a)
	flush(t, a)
	if got := f.items["audit\x00main"].number(attrSeq); moves != 1 || got != 4 {
		t.Errorf("the end moved %d times, to number %d, want once, to 4", moves, got)
	}
	more(t, a, "d")
	if err := a.Append(t.Context(), rotate.Event{Time: now, Action: "e"}); err != nil || moves != 2 {
		t.Errorf("the last event moved the end %d times, %v, want once", moves-1, err)
	}
	more(t, a, "f")
	at = at.Add(auditBehind)
	more(t, a, "g") // of a pass that takes its time
	if got := f.items["audit\x00main"].number(attrSeq); got != 8 {
		t.Errorf("after %s the end is at number %d, want 8", auditBehind, got)
	}
	sound(t, f, "step0", "a", "b", "c", "d", "e", "f", "g")
}

// A process dies in the middle of a pass; another one goes on, whether or not it
// knew the end.
func TestBlocksOfADeadProcessAreTheLogsOwn(t *testing.T) {
	t.Parallel()
	for _, knows := range []bool{false, true} {
		f := newFake()
		other := writer(t, f)
		appendN(t, other, 1)
		if !knows {
			other = writer(t, f)
		}
		more(t, writer(t, f), "a", "b", "c")
		more(t, other, "d")
		sound(t, f, "step0", "a", "b", "c", "d")
		flush(t, other)
		sound(t, f, "step0", "a", "b", "c", "d")
		if got := f.items["audit\x00main"].number(attrSeq); got != 5 {
			t.Errorf("knew the end: %t: it is at number %d, want 5", knows, got)
		}
	}
}

// Two processes append in turn, and each moves the end past the other's blocks.
func TestProcessesMoveTheEndPastEachOther(t *testing.T) {
	t.Parallel()
	f := newFake()
	a, b := writer(t, f), writer(t, f)
	var want []string
	for i := range 6 {
		more(t, a, fmt.Sprint("a", i))
		more(t, b, fmt.Sprint("b", i))
		want = append(want, fmt.Sprint("a", i), fmt.Sprint("b", i))
		flush(t, a) // b does not know of it
		if i%2 == 0 {
			more(t, b, fmt.Sprint("late", i))
			want = append(want, fmt.Sprint("late", i))
		}
		flush(t, b)
		flush(t, a)
	}
	sound(t, f, want...)
}

// Losing an answer, or the process, at any write of a pass costs no line and
// looks like no damage.
func TestAPassIsLostAnywhere(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for nth := 1; nth <= 4; nth++ {
		for _, after := range []bool{false, true} {
			for _, same := range []bool{false, true} {
				f := newFake()
				a := writer(t, f)
				appendN(t, a, 1)
				f.fault = once(t, "PutItem", nth, after, down)
				done, want := true, []string{"step0"}
				for _, action := range []string{"a", "b", "c"} {
					err := a.Append(t.Context(), rotate.Event{Time: now, Action: action, More: true})
					if err == nil || after {
						want = append(want, action)
					}
					if err != nil {
						done = false
						break
					}
				}
				if done && a.Flush(t.Context()) == nil {
					t.Fatalf("write %d: nothing failed", nth)
				}
				f.fault = nil
				if !same {
					a = writer(t, f)
				}
				more(t, a, "next")
				flush(t, a)
				sound(t, f, append(want, "next")...)
			}
		}
	}
}

// Somebody without the key puts a block after those that wait for the end.
func TestAForgedBlockAfterBlocks(t *testing.T) {
	t.Parallel()
	f := newFake()
	a := chain(t, f)
	appendN(t, a, 1)
	more(t, a, "a")
	end, err := a.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	line, _ := audit.Frame(nil, end, []byte(`{"time":"2026-11-23T18:00:00Z","action":"forged"}`))
	it := key("audit#main", digits(3))
	it[attrLine], it[attrMAC] = text(string(line)), f.items["audit#main\x000000000000000000002"][attrMAC]
	f.items[place(it)] = it
	if _, err := a.Verify(t.Context()); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("Verify = %v, want %v", err, audit.ErrBroken)
	}
	more(t, chain(t, f), "next")
	if log := export(t, a); !strings.Contains(log, "was said to end at number 2, it has lines up to 3") {
		t.Errorf("the log tells of no gap:\n%s", log)
	}
}
