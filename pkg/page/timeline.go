package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Measures of the timeline, in pixels. Only its width depends on the screen.
const (
	laneTop    = 22.0 // room for the ids above the first bar
	laneHeight = 38.0
	barHeight  = 12.0
	axisHeight = 24.0
)

// scale maps instants to shares of the width. What is drawn by it stays the
// same while now goes on: it is moved as a whole, by the script or, on a page
// that stands still, by the server.
type scale struct {
	anchor     time.Time // drawn where now is, before it is moved
	span       time.Duration
	here       float64 // now's share of the width
	shift      float64 // what the drawing is moved by: 0 if the script does it
	minX, maxX float64 // nothing is drawn beyond
}

// scaleOf makes the scale for a user who is as he was at at; now is zero if the
// script moves the drawing.
func scaleOf(u User, at, now time.Time) scale {
	s := scale{anchor: at.Truncate(u.past + u.ahead), span: u.past + u.ahead, minX: -1, maxX: 4}
	s.here = float64(u.past) / float64(s.span)
	for _, k := range u.Keys {
		for _, m := range k.marks() {
			if !m.Planned && m.At.After(s.anchor) && !m.At.After(at) {
				s.anchor = m.At
			}
		}
	}
	if !now.IsZero() {
		s.shift = float64(s.anchor.Sub(now)) / float64(s.span)
	}
	return s
}

func (s scale) at(t time.Time) float64 { return min(s.maxX, max(s.minX, s.raw(t))) }

func (s scale) raw(t time.Time) float64 { return s.here + float64(t.Sub(s.anchor))/float64(s.span) }

func (s scale) shows(m Moment) bool {
	x := s.raw(m.At)
	return !m.At.IsZero() && x > s.minX && x < s.maxX
}

// moving adds to a drawing's attributes what the script moves it by.
func (s scale) moving(attrs at) at {
	return append(attrs, "data-anchor", milliseconds(s.anchor), "data-span", strconv.FormatInt(s.span.Milliseconds(), 10))
}

// mover holds what moves.
func (s scale) mover(kids group) node {
	return el("svg", at{"class", "mover", "x", percent(s.shift), "overflow", "visible"}, kids)
}

// ahead hatches what is to come: it is planned, no more.
func (s scale) ahead(height float64) node {
	return el("rect", at{"fill", "url(#planned)", "x", percent(s.here), "width", percent(1 - s.here), "height", px(height)})
}

func (s scale) nowLine(height float64) node {
	return el("line", at{"class", "now", "x1", percent(s.here), "x2", percent(s.here), "y1", "0", "y2", px(height)})
}

// definitions are what timelines fill the time ahead with, and the icons.
func definitions() node {
	return el("svg", at{"class", "defs", "width", "0", "height", "0", "aria-hidden", "true"}, el("defs", nil,
		el("pattern", at{"id", "planned", "width", "7", "height", "7", "patternUnits", "userSpaceOnUse", "patternTransform", "rotate(45)"},
			el("rect", at{"class", "planned-stripe", "width", "4.5", "height", "7"})),
		symbol(Good), symbol(Warn), symbol(Bad)))
}

// timeline draws the lives of a user's keys: a lane for each of the two keys
// that IAM allows at a time, from long ago on the left to planned on the right.
func timeline(u User, at1, now time.Time, id string) node {
	s := scaleOf(u, at1, now)
	lanes, n := lanesOf(u.Keys, s.span/80)
	n = max(n, 2)
	bottom := laneTop + float64(n-1)*laneHeight + barHeight + 10
	height := bottom + axisHeight
	var bars, over group
	for i, k := range u.Keys {
		y := laneTop + float64(lanes[i])*laneHeight
		for _, p := range k.Phases() {
			bars = append(bars, stretch(p, s, at{"y", px(y), "height", px(barHeight)})...)
		}
		over = append(over, el("g", at{"class", "key"}, append(group{keyName(k, s, y-6)}, signs(k, s, y+barHeight/2)...)...))
	}
	return el("svg", s.moving(at{
		"class", "timeline", "role", "img", "width", "100%", "height", px(height), "aria-labelledby", id + "-t " + id + "-d",
	}),
		el("title", at{"id", id + "-t"}, text("Timeline of the keys of "+u.Name)),
		el("desc", at{"id", id + "-d"}, text(describe(u))),
		axis(s, bottom), s.mover(bars), s.ahead(bottom), s.nowLine(bottom), s.mover(over))
}

// keyName writes the id above a bar: at its beginning, or where it comes into
// sight.
func keyName(k Key, s scale, y float64) node {
	from, to := s.at(k.Created.At), s.maxX
	if !k.Deleted.At.IsZero() {
		to = s.at(k.Deleted.At)
	}
	name := k.ID
	if name == "" {
		name = "next"
	}
	attrs := at{
		"class", "id", "data-from", percent(from), "data-to", percent(to), "x", percent(max(from, -s.shift)), "y", px(y), "aria-hidden", "true",
	}
	if from+s.shift > 0.94 || to+s.shift < 0.08 {
		attrs = append(attrs, "visibility", "hidden")
	}
	return el("text", attrs, text(name))
}

// lanesOf puts each key in the first lane that is free, or nearly, when it is
// made.
func lanesOf(keys []Key, nearly time.Duration) (lane []int, n int) {
	var ends []time.Time
	for _, k := range keys {
		end := k.Deleted.At
		if end.IsZero() {
			end = k.Created.At.Add(1000 * time.Hour * 24) // no end in sight
		}
		i := 0
		for i < len(ends) && ends[i].After(k.Created.At.Add(nearly)) {
			i++
		}
		if i == len(ends) {
			ends = append(ends, end)
		}
		ends[i] = end
		lane = append(lane, i)
	}
	return lane, len(ends)
}

// axis labels round distances from now, below a drawing that ends at y.
func axis(s scale, y float64) node {
	step := roundStep(s.span / 8)
	from, to := -time.Duration(s.here*float64(s.span)), time.Duration((1-s.here)*float64(s.span))
	var g group
	for d := from.Truncate(step); d <= to; d += step {
		at1 := s.here + float64(d)/float64(s.span)
		if at1 < 0.03 || at1 > 0.97 {
			continue
		}
		x, label, class := percent(at1), relative(d), "tick"
		if d == 0 {
			label, class = "now", "tick tick-now"
		}
		if y > 0 {
			g = append(g, el("line", at{"class", "grid", "x1", x, "x2", x, "y1", "0", "y2", px(y)}))
		}
		g = append(g, el("text", at{"class", class, "x", x, "y", px(y + 16), "text-anchor", "middle"}, text(label)))
	}
	return el("g", at{"aria-hidden", "true"}, g...)
}

func roundStep(d time.Duration) time.Duration {
	day := 24 * time.Hour
	for _, step := range []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, day, 2 * day, 7 * day, 14 * day, 30 * day, 90 * day,
	} {
		if step >= d {
			return step
		}
	}
	return 365 * day
}

func relative(d time.Duration) string {
	sign := "+"
	if d < 0 {
		sign, d = "−", -d
	}
	return sign + Span(d)
}

// Span words a duration in its two largest units.
func Span(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.d {
			continue
		}
		out := fmt.Sprintf("%d%s", d/u.d, u.name)
		if rest := d % u.d; i+1 < len(units) && rest >= units[i+1].d {
			out += fmt.Sprintf(" %d%s", rest/units[i+1].d, units[i+1].name)
		}
		return out
	}
	return "0s"
}

// Phase is a stretch of a key's life.
type Phase struct {
	Name     string // pending, current, previous or inactive
	From, To Moment
}

// Window is how much of the past and of the plan is worth showing of u.
func (u User) Window() (past, ahead time.Duration) { return u.past, u.ahead }

// Phases cuts a life into stretches; the last known end of each is the next
// one's beginning.
func (k Key) Phases() []Phase {
	ends := []struct {
		class string
		Moment
	}{{"pending", k.Promoted}, {"current", k.Superseded}, {"previous", k.Deactivated}, {"inactive", k.Deleted}}
	var out []Phase
	from := k.Created
	for i, e := range ends {
		to := e.Moment
		for j := i + 1; to.At.IsZero() && j < len(ends); j++ {
			to = ends[j].Moment // it skipped this stretch, or its end is not known
		}
		if to.At.IsZero() {
			return append(out, Phase{e.class, from, Moment{from.At.Add(1000 * time.Hour * 24), true}}) // no end in sight
		}
		if to.At.After(from.At) {
			out = append(out, Phase{e.class, from, to})
			from = to
		}
	}
	return out
}

// signs draws the marks of a key. Those that would cover each other stand side
// by side.
func signs(k Key, s scale, y float64) group {
	const close, width = 0.014, 10 // share of the width; pixels
	var g group
	last, shift := -1.0, 0
	for _, m := range k.marks() {
		if !s.shows(m.Moment) {
			continue
		}
		x := s.at(m.At)
		if last >= 0 && x-last < close {
			shift += width
		} else {
			last, shift = x, 0
		}
		g = append(g, mark(m.kind, m.Planned, percent(last), y, shift))
	}
	return g
}

// stretch draws a phase; the style sheet has the measures of a line's.
func stretch(p Phase, s scale, measures at) group {
	a, b := s.at(p.From.At), s.at(p.To.At)
	if b <= a {
		return nil
	}
	return group{el("rect", append(at{"class", "bar " + p.Name, "x", percent(a), "width", percent(b - a)}, measures...))}
}

type namedMoment struct {
	kind string
	Moment
}

func (k Key) marks() []namedMoment {
	return []namedMoment{
		{"created", k.Created}, {"verified", k.Verified}, {"promoted", k.Promoted}, {"deactivated", k.Deactivated}, {"deleted", k.Deleted},
	}
}

// shapes of the marks, around the origin. They differ in form, not in colour.
var shapes = map[string]string{
	"created":     "M-4,0 a4,4 0 1,0 8,0 a4,4 0 1,0 -8,0 Z",
	"verified":    "M0,-5 L5,0 L0,5 L-5,0 Z",
	"promoted":    "M0,-5.5 L5.5,4 L-5.5,4 Z",
	"deactivated": "M-4,-4 H4 V4 H-4 Z",
	"deleted":     "M-4,-4 L4,4 M4,-4 L-4,4",
}

func mark(kind string, planned bool, x string, y float64, shift int) node {
	class := "mark " + kind
	if planned {
		class += " planned"
	}
	return el("svg", at{"x", x, "y", px(y), "overflow", "visible"},
		el("path", at{"class", class, "d", shapes[kind], "transform", "translate(" + strconv.Itoa(shift) + ",0)"}))
}

// describe says in words what the timeline shows.
func describe(u User) string {
	var parts []string
	for _, k := range u.Keys {
		name := "Key " + k.ID
		switch {
		case k.ID == "":
			name = "The next key"
		case k.Stage == "":
			name = "Deleted key " + k.ID
		}
		var steps []string
		for _, m := range k.marks() {
			switch {
			case m.At.IsZero():
			case m.Planned:
				steps = append(steps, m.kind+" planned for "+m.At.UTC().Format("15:04:05"))
			default:
				steps = append(steps, m.kind+" at "+m.At.UTC().Format("15:04:05"))
			}
		}
		parts = append(parts, name+": "+strings.Join(steps, ", ")+".")
	}
	return strings.Join(parts, " ")
}
