package dynamodb

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// TestAuditPrune: blocks that are old are exported and deleted, and wherever that
// stops the chain is proven and every line is somewhere.
func TestAuditPrune(t *testing.T) {
	t.Parallel()
	for stop := range 6 {
		f, dir := newFake(), t.TempDir()
		a := chain(t, f)
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := range 8 {
			if err := a.Append(t.Context(), rotate.Event{Time: start.Add(time.Duration(i) * time.Hour), Action: "handout"}); err != nil {
				t.Fatal(err)
			}
		}
		before := export(t, a)
		a.Now = func() time.Time { return start.Add(9 * time.Hour) }
		down := errors.New("down")
		deleted := 0
		f.fault = func(call string, after bool) error {
			if call == "DeleteItem" && after {
				deleted++
			}
			if call == "DeleteItem" && !after && deleted == stop {
				return down
			}
			return nil
		}
		s, err := a.Prune(t.Context(), start.Add(5*time.Hour), dir, "root")
		if stop == 5 && (err != nil || s.Lines != 5) || stop < 5 && !errors.Is(err, down) {
			t.Errorf("after %d deletions: Prune = %+v, %v", stop, s, err)
		}
		f.fault = nil
		appendN(t, chain(t, f), 1)
		if _, err := a.Verify(t.Context()); err != nil {
			t.Errorf("after %d deletions: Verify = %v", stop, err)
		}
		if rest := export(t, a); strings.Count(before, "\n")-deleted+2 != strings.Count(rest, "\n") {
			t.Errorf("after %d deletions the table has:\n%s", deleted, rest)
		}
		if _, err := a.Prune(t.Context(), start.Add(5*time.Hour), dir, "root"); err != nil {
			t.Errorf("after %d deletions: Prune again = %v", stop, err)
		}
		if _, err := a.Verify(t.Context()); err != nil {
			t.Errorf("after %d deletions and the rest: Verify = %v", stop, err)
		}
		if got := export(t, a); strings.Contains(got, `"seq":5,`) || !strings.Contains(got, `"seq":6,`) {
			t.Errorf("after %d deletions and the rest the table has:\n%s\nwant number 6 and later", stop, got)
		}
	}
}
