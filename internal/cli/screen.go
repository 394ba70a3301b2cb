package cli

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/page"
)

// style is an SGR parameter; the empty one changes nothing.
type style string

const (
	plainStyle style = ""
	bold       style = "1"
	faint      style = "2"
	red        style = "31"
	green      style = "32"
	yellow     style = "33"
	blue       style = "34"
	paleGreen  style = "2;32"
)

// line is made of pieces and is never wider than the screen.
type line struct {
	b      strings.Builder
	room   int
	colour bool
}

// add appends text, as much as there is room for.
func (l *line) add(s style, text string) *line {
	text = printable.Line(text)
	if utf8.RuneCountInString(text) > l.room {
		text = string([]rune(text)[:max(0, l.room-1)]) + "…"
		if l.room == 0 {
			return l
		}
	}
	l.room -= utf8.RuneCountInString(text)
	if s == plainStyle || !l.colour {
		l.b.WriteString(text)
	} else {
		l.b.WriteString("\x1b[" + string(s) + "m" + text + "\x1b[0m")
	}
	return l
}

func (l *line) String() string { return l.b.String() }

// viewport is what of the users is on the terminal. If not all of them fit with
// timelines, each is a line, and the lines scroll.
type viewport struct {
	cols, rows int
	colour     bool
	top        int // the first line that is shown
	shown      int // lines that are
}

func (v *viewport) start() *line { return &line{room: v.cols, colour: v.colour} }

// screen lays the status out.
func (v *viewport) screen(s page.Status) []string {
	clock := s.At.UTC().Format("15:04:05 MST")
	sign, tone := signOf(s.Level)
	head := v.start().add(bold, " keyrot ").add(tone, " "+sign+" "+s.Headline)
	if gap := head.room - len(clock) - 1; gap > 0 {
		head.add(faint, strings.Repeat(" ", gap)+clock)
	}
	numbers := fmt.Sprintf("         %d managed · %d with a key that works", s.Total, s.Serving)
	for _, n := range []struct {
		n    int
		word string
	}{{s.Overdue, "overdue"}, {s.Late - s.Overdue, "late"}, {s.Held, "held"}, {s.Paused, "paused"}} {
		if n.n > 0 {
			numbers += fmt.Sprintf(" · %d %s", n.n, n.word)
		}
	}
	out := []string{head.String(), v.start().add(faint, numbers).String(), ""}
	left := max(0, v.rows-len(out)-1)
	body, all := v.blocks(s, left)
	bottom := v.start().add(faint, " q ends · ").add(blue, "░").add(faint, " being proven ").add(green, "█").add(faint, " handed out ").
		add(paleGreen, "▓").add(faint, " superseded ").add(faint, "▒ off  ┄ planned  │ now")
	if !all {
		body = v.lines(s, left)
		bottom = v.start().add(faint, fmt.Sprintf(" ↑↓ scrolls, %d–%d of %d · q ends · ", min(v.top+1, len(s.Users)), v.top+v.shown, len(s.Users))).
			add(green, "▀▄").add(faint, " one key works ").add(paleGreen, "█").add(faint, " both  ┄ planned  │ now")
	}
	out = append(out, body...)
	if room := v.rows - 1 - len(out); all && room > 2 && len(s.Events) > 0 {
		out = append(out, eventLines(s, v.start, room-1)...)
	}
	for len(out) < v.rows-1 {
		out = append(out, "")
	}
	return append(out, bottom.String())
}

// blocks shows users with timelines; all is false if not all of them fit.
func (v *viewport) blocks(s page.Status, left int) (out []string, all bool) {
	for _, u := range s.Users {
		out = append(out, append(userLines(u, s.At, v.start, v.cols), "")...)
		if len(out) > left {
			return nil, false
		}
	}
	return out, true
}

// lines shows as many users as there is room for, from v.top on.
func (v *viewport) lines(s page.Status, left int) []string {
	v.shown = min(left, len(s.Users))
	v.top = max(0, min(v.top, len(s.Users)-v.shown))
	users := s.Users[v.top : v.top+v.shown]
	wide := 0
	for _, u := range s.Users {
		wide = max(wide, utf8.RuneCountInString(u.Name))
	}
	wide = min(wide, max(8, v.cols/3))
	var out []string
	for _, u := range users {
		out = append(out, v.userLine(u, s.At, wide))
	}
	return out
}

// Columns of a line.
const (
	stateCols = 12
	nextCols  = 24
)

// userLine shows a user in a line: a name of so many columns, how it is, its
// keys, and what comes next or how long it has been like that.
func (v *viewport) userLine(u page.User, now time.Time, wide int) string {
	sign, tone := signOf(u.Level)
	name := printable.Line(u.Name)
	if n := utf8.RuneCountInString(name); n > wide {
		name = string([]rune(name)[:wide-1]) + "…"
	}
	l := v.start().add(bold, " "+pad(name, wide)).add(tone, "  "+sign+" "+pad(u.State, stateCols-3))
	if width := l.room - nextCols - 2; width > 10 {
		l.add(plainStyle, " ")
		pairCells(l, u, now, width)
	}
	next := ""
	if !u.Next.At.IsZero() {
		next = u.Next.Short() + " in " + page.Span(max(0, u.Next.At.Sub(now)))
	}
	if u.Level != page.Good && !u.Since.IsZero() {
		next = "for " + page.Span(max(0, now.Sub(u.Since)))
	}
	return l.add(faint, " "+next).String()
}

// move scrolls.
func (v *viewport) move(m move) {
	switch m {
	case up:
		v.top--
	case down:
		v.top++
	case pageUp:
		v.top -= max(1, v.shown)
	case pageDown:
		v.top += max(1, v.shown)
	case toBegin:
		v.top = 0
	case toEnd:
		v.top = math.MaxInt / 2
	}
	v.top = max(0, v.top) // not behind the end either, when it is drawn
}

func signOf(l page.Level) (string, style) {
	switch l {
	case page.Bad:
		return "✗", red
	case page.Warn:
		return "!", yellow
	}
	return "✓", green
}

// userLines shows a user: how it is, why, and a line for each key.
func userLines(u page.User, now time.Time, start func() *line, cols int) []string {
	sign, tone := signOf(u.Level)
	head := start().add(bold, " "+u.Name).add(tone, "  "+sign+" "+u.State)
	if !u.Since.IsZero() && u.Level != page.Good {
		head.add(tone, " for "+page.Span(max(0, now.Sub(u.Since))))
	}
	if next := nextWords(u, now); next != "" {
		head.add(faint, "  ·  "+next)
	}
	out := []string{head.String()}
	for _, why := range []string{u.Why, u.Do} {
		if why != "" {
			out = append(out, start().add(tone, "   "+why).String())
		}
	}
	if u.Error != "" {
		out = append(out, start().add(faint, "   last failure: "+u.Error).String())
	}
	width := cols - 33
	for _, k := range u.Keys {
		id, age := k.ID, page.Span(max(0, now.Sub(k.Created.At)))
		if id == "" {
			id, age = "next", ""
		}
		if k.Stage == "" {
			age = ""
		}
		l := start().add(plainStyle, fmt.Sprintf("   %s  ", pad(id, 7))).add(faint, pad(stageOf(k), 13)+pad(age, 7)+" ")
		if width > 10 {
			barCells(l, u, k, now, width)
		}
		out = append(out, l.String())
	}
	if width > 24 {
		past, ahead := u.Window()
		at := int(float64(width) * float64(past) / float64(past+ahead))
		l, r := "−"+page.Span(past), "+"+page.Span(ahead)
		gap := at - utf8.RuneCountInString(l) - 1
		rest := width - at - 2 - utf8.RuneCountInString(r)
		if gap > 0 && rest > 0 {
			out = append(out, start().add(faint,
				strings.Repeat(" ", 33)+l+strings.Repeat(" ", gap)+"now"+strings.Repeat(" ", max(0, rest-1))+r).String())
		}
	}
	return out
}

// barCells draws a key's life, a cell for each stretch of time.
func barCells(l *line, u page.User, k page.Key, now time.Time, width int) {
	looks := map[string]struct {
		cell string
		tone style
	}{"pending": {"░", blue}, "current": {"█", green}, "previous": {"▓", paleGreen}, "inactive": {"▒", faint}}
	eachCell(u, now, width, func(t time.Time, here, ahead bool) {
		cell, tone := " ", plainStyle
		for _, p := range k.Phases() {
			if !t.Before(p.From.At) && t.Before(p.To.At) {
				cell, tone = looks[p.Name].cell, looks[p.Name].tone
				if ahead {
					cell = "┄"
				}
			}
		}
		if here {
			cell, tone = "│", bold
		}
		l.add(tone, cell)
	})
}

// pairCells draws when which of both keys works: the upper half of a cell is
// for every other key.
func pairCells(l *line, u page.User, now time.Time, width int) {
	halves := [4]string{" ", "▀", "▄", "█"}
	eachCell(u, now, width, func(t time.Time, here, ahead bool) {
		works := 0
		for i, k := range u.Keys {
			for _, p := range k.Phases() {
				if p.Name != "inactive" && !t.Before(p.From.At) && t.Before(p.To.At) {
					works |= 1 << (i % 2)
				}
			}
		}
		switch {
		case here:
			l.add(bold, "│")
		case ahead && works > 0:
			l.add(faint, "┄")
		case works == 3:
			l.add(paleGreen, halves[works])
		default:
			l.add(green, halves[works])
		}
	})
}

// eachCell calls draw for so many stretches of the time around now.
func eachCell(u page.User, now time.Time, width int, draw func(t time.Time, here, ahead bool)) {
	past, ahead := u.Window()
	step := (past + ahead) / time.Duration(width)
	here := int(past / max(step, 1))
	for i := range width {
		draw(now.Add(-past+time.Duration(i)*step+step/2), i == here, i > here)
	}
}

func eventLines(s page.Status, start func() *line, most int) []string {
	out := []string{start().add(bold, " What happened").String()}
	for _, e := range s.Events {
		if len(out) > most {
			break
		}
		_, tone := signOf(e.Level)
		if e.Level == page.Good {
			tone = plainStyle
		}
		l := start().add(faint, fmt.Sprintf("   %s", pad(page.Span(max(0, s.At.Sub(e.At)))+" ago", 13))).add(bold, e.User+" ").add(tone, e.Text)
		if e.Key != "" {
			l.add(faint, " "+e.Key)
		}
		out = append(out, l.String())
	}
	return out
}

func nextWords(u page.User, now time.Time) string {
	if u.Next.At.IsZero() {
		return ""
	}
	return u.Next.What + " in " + page.Span(max(0, u.Next.At.Sub(now)))
}

func stageOf(k page.Key) string {
	switch {
	case k.ID == "":
		return "planned"
	case k.Stage == "":
		return "deleted"
	case k.Inactive:
		return strings.ToLower(string(k.Stage)) + ", off"
	}
	return strings.ToLower(string(k.Stage))
}

// pad fills s up to n columns.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}
