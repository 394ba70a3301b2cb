package cli

import (
	"fmt"
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

// screen lays the status out for a terminal of cols x rows.
func screen(s page.Status, cols, rows int, colour bool) []string {
	start := func() *line { return &line{room: cols, colour: colour} }
	clock := s.At.UTC().Format("15:04:05 MST")
	sign, tone := signOf(s.Level)
	head := start().add(bold, " keyrot ").add(tone, " "+sign+" "+s.Headline)
	if gap := head.room - len(clock) - 1; gap > 0 {
		head.add(faint, strings.Repeat(" ", gap)+clock)
	}
	numbers := fmt.Sprintf("         %d managed · %d with a key that works", s.Total, s.Serving)
	for _, n := range []struct {
		n    int
		word string
	}{{s.Overdue, "overdue"}, {s.Held, "held"}, {s.Paused, "paused"}} {
		if n.n > 0 {
			numbers += fmt.Sprintf(" · %d %s", n.n, n.word)
		}
	}
	out := []string{head.String(), start().add(faint, numbers).String(), ""}
	bottom := start().add(faint, " q ends · ").add(blue, "░").add(faint, " being proven ").add(green, "█").add(faint, " handed out ").
		add(paleGreen, "▓").add(faint, " superseded ").add(faint, "▒ off  ┄ planned  │ now").String()
	left := rows - len(out) - 1
	hidden := 0
	for i, u := range s.Users {
		block := userLines(u, s.At, start, cols)
		if len(block)+1 > left {
			hidden = len(s.Users) - i
			break
		}
		out = append(out, append(block, "")...)
		left -= len(block) + 1
	}
	switch {
	case hidden > 0 && left > 0:
		out = append(out, start().add(faint, fmt.Sprintf(" and %d more users", hidden)).String())
		left--
	case hidden == 0 && left > 2 && len(s.Events) > 0:
		out = append(out, eventLines(s, start, left-1)...)
		left = rows - 1 - len(out)
	}
	for ; left > 0; left-- {
		out = append(out, "")
	}
	return append(out, bottom)
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
	past, ahead := u.Window()
	phases := k.Phases()
	looks := map[string]struct {
		cell string
		tone style
	}{"pending": {"░", blue}, "current": {"█", green}, "previous": {"▓", paleGreen}, "inactive": {"▒", faint}}
	step := (past + ahead) / time.Duration(width)
	here := int(past / max(step, 1))
	for i := range width {
		t := now.Add(-past + time.Duration(i)*step + step/2)
		cell, tone := " ", plainStyle
		for _, p := range phases {
			if !t.Before(p.From.At) && t.Before(p.To.At) {
				cell, tone = looks[p.Name].cell, looks[p.Name].tone
				if i > here {
					cell = "┄"
				}
			}
		}
		if i == here {
			cell, tone = "│", bold
		}
		l.add(tone, cell)
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
