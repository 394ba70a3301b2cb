package cli

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

var screenTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// crowdOf makes of entries what a page is made of.
func crowdOf(entries ...rotate.Entry) page.Facts {
	f := page.Facts{Policy: func(string) plan.Policy { return plan.Policy{} }}
	for i := range entries {
		f.Entries = append(f.Entries, &entries[i])
	}
	return f
}

func screenEntry(user string) rotate.Entry {
	at := screenTime.Add(-2 * time.Minute)
	return rotate.Entry{Record: plan.Record{User: user, Enrolled: at, Slot: at, Keys: []plan.Held{{
		ID: "AKIAIOSFODNN7EXAMPLE", Stage: plan.Current, Slot: at, Created: at, Made: at, Proven: at, Promoted: at, Promise: at.Add(12 * time.Minute),
	}}}}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestScreenFits(t *testing.T) {
	t.Parallel()
	evil := screenEntry("evil\x1b[2J\x07\u202e" + strings.Repeat("x", 300))
	evil.Record.Error = strings.Repeat("no ", 100)
	facts := crowdOf(screenEntry("app"), evil, screenEntry("ci"))
	facts.Events = []page.Event{{At: screenTime, User: "ci", Text: "A new key was made", Key: "AKIA…LE"}}
	s := page.Build(facts, screenTime)
	for _, size := range [][2]int{{200, 50}, {80, 24}, {40, 12}, {10, 5}, {1, 1}} {
		for _, colour := range []bool{true, false} {
			lines := (&viewport{cols: size[0], rows: size[1], colour: colour}).screen(s)
			if size[1] > 4 && len(lines) != size[1] {
				t.Errorf("screen of %v has %d lines", size, len(lines))
			}
			for _, l := range lines {
				bare := sgr.ReplaceAllString(l, "")
				if n := utf8.RuneCountInString(bare); n > size[0] {
					t.Errorf("screen of %v has a line of %d columns: %q", size, n, bare)
				}
				if strings.ContainsAny(bare, "\x1b\x07\u202e") || !colour && bare != l {
					t.Errorf("screen of %v (colour %v) has control characters: %q", size, colour, l)
				}
			}
		}
	}
}

func TestScreenShowsATimeline(t *testing.T) {
	t.Parallel()
	s := page.Build(crowdOf(screenEntry("app")), screenTime)
	all := strings.Join((&viewport{cols: 100, rows: 30}).screen(s), "\n")
	for _, want := range []string{"✓ All keys rotate on time", "app  ✓ on time", "AKIA…LE  current", "████", "│┄┄┄", "next     planned", "now"} {
		if !strings.Contains(all, want) {
			t.Errorf("the screen lacks %q:\n%s", want, all)
		}
	}
}

func TestWatchWithoutATerminalTellsChangesOnly(t *testing.T) {
	t.Parallel()
	st := &rotatetest.MemStore{}
	if _, err := st.Save(t.Context(), screenEntry("app")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	clock := rotatetest.ClockAt(func() time.Time { return screenTime.Add(time.Duration(looks) * time.Second) })
	policy := func(string) plan.Policy { return plan.Policy{} }
	w := &watcher{roster: &rotate.Roster{Store: st, Policy: policy, Now: clock.Now}, history: &page.History{}, clock: clock}
	st.Before = func(string, string) error {
		if looks++; looks == 2 {
			cancel()
		}
		return nil
	}
	var out bytes.Buffer
	if err := w.plain(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "AKIA…LE"); n != 1 {
		t.Errorf("the table was written %d times, want once:\n%s", n, out.String())
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]struct {
		quit  bool
		moves []move
	}{
		"q": {true, nil}, "xxQ": {true, nil}, "\x03": {true, nil}, "x": {false, nil}, "\x1b": {false, nil}, "\x1b[99;1X": {false, nil},
		"j\x1b[A\x1b[Bq": {true, []move{down, up, down}}, "\x1b[6~\x1b[5~ \x1bOHG": {false, []move{pageDown, pageUp, pageDown, toBegin, toEnd}},
	} {
		quit := false
		moves := make(chan move, 64)
		readKeys(strings.NewReader(keys), func() { quit = true }, moves)
		close(moves)
		var got []move
		for m := range moves {
			got = append(got, m)
		}
		if quit != want.quit || !slices.Equal(got, want.moves) {
			t.Errorf("readKeys(%q): quits = %v, moves = %v, want %v, %v", keys, quit, got, want.quit, want.moves)
		}
	}
}

// TestScreenScrolls: users that do not fit are a line each, and every one of
// them can be reached.
func TestScreenScrolls(t *testing.T) {
	t.Parallel()
	var entries []rotate.Entry
	for i := range 5000 {
		entries = append(entries, screenEntry(fmt.Sprintf("user-%04d", i)))
	}
	s := page.Build(crowdOf(entries...), screenTime)
	v := &viewport{cols: 100, rows: 24}
	tests := []struct {
		move  move
		first string
		where string
	}{
		{stay, "user-0000", "1–20 of 5000"},
		{down, "user-0001", "2–21 of 5000"},
		{pageDown, "user-0021", "22–41 of 5000"},
		{up, "user-0020", "21–40 of 5000"},
		{pageUp, "user-0000", "1–20 of 5000"},
		{up, "user-0000", "1–20 of 5000"},
		{toEnd, "user-4980", "4981–5000 of 5000"},
		{down, "user-4980", "4981–5000 of 5000"},
		{toBegin, "user-0000", "1–20 of 5000"},
	}
	for i, tt := range tests {
		v.move(tt.move)
		lines := v.screen(s)
		if len(lines) != 24 || !strings.Contains(lines[3], tt.first) || !strings.Contains(lines[23], tt.where) {
			t.Fatalf("after move %d: %d lines, first %q, bottom %q, want 24, %s and %s", i, len(lines), lines[3], lines[23], tt.first, tt.where)
		}
		for _, part := range []string{"✓ on time", "▀▀", "│┄", "new key in 5m 30s"} {
			if !strings.Contains(lines[3], part) {
				t.Errorf("the line %q lacks %q", lines[3], part)
			}
		}
	}
}
