package page

import (
	"fmt"
	"math"
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
	pixels     = 600 // the timeline moves on when now has moved one of them
)

// scale maps instants to shares of the width.
type scale struct {
	from, now time.Time
	span      time.Duration
}

func scaleOf(u User, now time.Time) scale {
	span := u.past + u.ahead
	now = now.Truncate(max(span/pixels, time.Second))
	return scale{now.Add(-u.past), now, span}
}

func (s scale) at(t time.Time) float64 {
	return min(1.02, max(-0.02, s.raw(t)))
}

func (s scale) raw(t time.Time) float64 { return float64(t.Sub(s.from)) / float64(s.span) }

func (s scale) shows(m Moment) bool {
	x := s.raw(m.At)
	return !m.At.IsZero() && x >= 0 && x <= 1
}

// timeline draws the lives of a user's keys: a lane for each of the two keys
// that IAM allows at a time, from long ago on the left to planned on the right.
func timeline(u User, now time.Time, id string) node {
	s := scaleOf(u, now)
	lanes, n := lanesOf(u.Keys, s.span/80)
	n = max(n, 2)
	bottom := laneTop + float64(n-1)*laneHeight + barHeight + 10
	height := bottom + axisHeight
	kids := group{
		el("title", at{"id", id + "-t"}, text("Timeline of the keys of "+u.Name)),
		el("desc", at{"id", id + "-d"}, text(describe(u))),
		axis(s, bottom),
	}
	for i, k := range u.Keys {
		kids = append(kids, bar(k, s, laneTop+float64(lanes[i])*laneHeight))
	}
	x := percent(s.at(s.now))
	kids = append(kids, el("line", at{"class", "now", "x1", x, "x2", x, "y1", "0", "y2", px(bottom)}))
	return el("svg", at{
		"class", "timeline", "role", "img", "width", "100%", "height", px(height), "aria-labelledby", id + "-t " + id + "-d",
	}, kids...)
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

// axis labels round distances from now.
func axis(s scale, y float64) node {
	step := roundStep(s.span / 8)
	var g group
	for d := -s.now.Sub(s.from).Truncate(step); d <= s.span-s.now.Sub(s.from); d += step {
		at1 := s.raw(s.now.Add(d))
		if at1 < 0.03 || at1 > 0.97 {
			continue
		}
		x, label, class := percent(at1), relative(d), "tick"
		if d == 0 {
			label, class = "now", "tick tick-now"
		}
		g = append(g, el("line", at{"class", "grid", "x1", x, "x2", x, "y1", "0", "y2", px(y)}),
			el("text", at{"class", class, "x", x, "y", px(y + 16), "text-anchor", "middle"}, text(label)))
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

func bar(k Key, s scale, y float64) node {
	var g group
	for _, p := range k.Phases() {
		g = append(g, stretch(p, s, y)...)
	}
	if x := s.at(k.Created.At); s.raw(k.Created.At) < 0.94 && (k.Deleted.At.IsZero() || s.raw(k.Deleted.At) > 0.08) {
		name := k.ID
		if name == "" {
			name = "next"
		}
		g = append(g, el("text", at{"class", "id", "x", percent(max(0, x)), "y", px(y - 6), "aria-hidden", "true"}, text(name)))
	}
	return el("g", at{"class", "key"}, append(g, signs(k, s, y+barHeight/2)...)...)
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

// stretch draws a phase; what is yet to come of it is drawn as planned.
func stretch(p Phase, s scale, y float64) group {
	a, b, now := s.at(p.From.At), s.at(p.To.At), s.at(s.now)
	draw := func(from, to float64, class string) node {
		return el("rect", at{
			"class", class, "x", percent(from), "width", percent(math.Max(0, to-from)), "y", px(y),
			"height", px(barHeight), "rx", "3",
		})
	}
	switch {
	case b <= a:
		return nil
	case b <= now:
		return group{draw(a, b, "bar "+p.Name)}
	case a >= now:
		return group{draw(a, b, "bar planned "+p.Name)}
	}
	return group{draw(a, now, "bar "+p.Name), draw(now, b, "bar planned "+p.Name)}
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
