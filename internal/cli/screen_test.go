package cli

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

var screenTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

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
	s := page.Build(page.Facts{
		Entries: []rotate.Entry{screenEntry("app"), evil, screenEntry("ci")},
		Policy:  func(string) plan.Policy { return plan.Policy{} },
		Events:  []page.Event{{At: screenTime, User: "ci", Text: "A new key was made", Key: "AKIA…LE"}},
	}, screenTime)
	for _, size := range [][2]int{{200, 50}, {80, 24}, {40, 12}, {10, 5}, {1, 1}} {
		for _, colour := range []bool{true, false} {
			lines := screen(s, size[0], size[1], colour)
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
	s := page.Build(page.Facts{Entries: []rotate.Entry{screenEntry("app")}, Policy: func(string) plan.Policy { return plan.Policy{} }}, screenTime)
	all := strings.Join(screen(s, 100, 30, false), "\n")
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
	w := &watcher{store: st, cfg: config.Config{}, history: &page.History{}, clock: rotatetest.ClockAt(func() time.Time { return screenTime.Add(time.Duration(looks) * time.Second) })}
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

func TestQuitKeys(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]bool{"q": true, "xxQ": true, "\x03": true, "x": false} {
		quit := false
		quitKeys(strings.NewReader(keys), func() { quit = true })
		if quit != want {
			t.Errorf("quitKeys(%q) quits = %v, want %v", keys, quit, want)
		}
	}
}
