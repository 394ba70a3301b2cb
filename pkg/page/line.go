package page

import (
	"strings"
	"time"
)

// line shows one user in a line, which opens to its card.
func (v *view) line(u User, id string, now time.Time) node {
	var next group
	switch {
	case u.Level != Good && !u.Since.IsZero():
		next = group{since(u.Since)}
	case !u.Next.At.IsZero():
		next = group{text(u.Next.short + " "), due(u.Next.At)}
	}
	return el("li", at{
		"id", id, "class", "line " + string(u.Level), "data-user", u.Name, "data-state", strings.ReplaceAll(u.State, " ", "-"),
	},
		el("a", at{
			"id", id + "-a", "class", "toggle", "href", v.query.opened(u.Name).link() + "#" + id,
			"aria-expanded", "false", "aria-controls", id,
		}, text(u.Name)),
		badge(u), strip(u, v, now), el("span", at{"class", "next"}, next))
}

// stages says in words what the bars of a line show.
func stages(u User) string {
	var all []string
	for _, k := range u.Keys {
		if k.Stage != "" {
			all = append(all, k.ID+" "+stageOf(k))
		}
	}
	if all == nil {
		return "No key yet"
	}
	return "Keys: " + strings.Join(all, "; ")
}

// strip is a small timeline: the bars of both keys, around now.
func strip(u User, v *view, now time.Time) node {
	const lane = 9
	s := scaleOf(u, v.At, now)
	of, n := lanesOf(u.Keys, s.span/80)
	n = max(n, 2)
	lanes := make([]group, n)
	for i, k := range u.Keys {
		for _, p := range k.Phases() {
			lanes[of[i]] = append(lanes[of[i]], stretch(p, s, nil)...)
		}
	}
	var bars group
	for i, kids := range lanes {
		bars = append(bars, el("svg", at{"y", px(float64(1 + lane*i)), "overflow", "visible"}, kids))
	}
	bottom := float64(1 + lane*n)
	return el("svg", s.moving(at{"class", "strip", "width", "100%", "height", px(bottom), "role", "img", "aria-label", stages(u)}),
		s.mover(bars), s.ahead(bottom), s.nowLine(bottom))
}

// heads are the headings of the lines. If all lines have the same scale, that
// is among them.
func (v *view) heads() node {
	lines, same := 0, true
	for _, u := range v.Users {
		if open, _ := v.shows(u.Name); !open {
			lines++
			same = same && u.past == v.Users[0].past && u.ahead == v.Users[0].ahead
		}
	}
	if lines == 0 {
		return el("div", at{"id", "heads", "hidden", ""})
	}
	keys := node(el("span", nil, text("Keys")))
	if same {
		keys = el("svg", at{"class", "strip", "width", "100%", "height", "18"}, axis(scaleOf(v.Users[0], v.At, time.Time{}), -2))
	}
	return el("div", at{"id", "heads", "class", "heads", "aria-hidden", "true"},
		el("span", nil, text("User")), el("span", nil, text("State")), keys, el("span", nil, text("Next")))
}

// shown says how many users there are, and which of them are listed.
func (v *view) shown() node {
	f := v.found
	words := number(v.Total)
	if f.Pages > 1 {
		from := (f.Page-1)*PageSize + 1
		words = number(from) + "–" + number(from+len(f.Users)-1) + " of " + number(f.Matched)
	}
	switch {
	case v.query.Text == "" && v.query.Group == "":
	case f.Pages > 1:
		words += " found, " + number(v.Total) + " in all"
	default:
		words = number(f.Matched) + " of " + number(v.Total)
	}
	return el("span", at{"id", "shown", "class", "shown"}, text(words))
}

// clear ends the search.
func (v *view) clear() node {
	if v.query.Text == "" && v.query.Group == "" {
		return el("span", at{"id", "clear", "hidden", ""})
	}
	var state node
	if v.query.Group != "" {
		state = el("input", at{"type", "hidden", "name", "state", "value", string(v.query.Group)})
	}
	return el("span", at{"id", "clear"}, group{state}, el("a", at{"id", "clear-a", "class", "button", "href", pathHome}, text("Clear")))
}

var groupNames = map[Group]string{
	"": "All", Leaked: "Leaked", Late: "Late", Held: "Held", Paused: "Paused", Waiting: "Waiting", OnTime: "On time",
}

var groupLevels = map[Group]Level{Leaked: Bad, Late: Bad, Held: Bad, Paused: Warn, Waiting: Warn, OnTime: Good}

// filters lead to the users of each state.
func (v *view) filters() node {
	if v.Total <= fewUsers && v.query.Group == "" {
		return el("nav", at{"id", "filters", "hidden", "", "aria-label", "States"})
	}
	var items group
	for _, g := range append([]Group{""}, Groups...) {
		n := v.found.In[g]
		if g == "" {
			n = v.found.All
		}
		if n == 0 && g != v.query.Group && g != "" {
			continue
		}
		attrs := at{"id", "state-" + string(g), "class", "chip " + string(groupLevels[g]), "href", v.query.in(g).link()}
		if g == v.query.Group {
			attrs = append(attrs, "aria-current", "true")
		}
		items = append(items, el("li", nil, el("a", attrs, text(groupNames[g]+" "), el("b", nil, text(number(n))))))
	}
	return el("nav", at{"id", "filters", "class", "filters", "aria-label", "States"}, el("ul", nil, items))
}

// pager leads to the other pages.
func (v *view) pager() node {
	f := v.found
	if f.Pages == 1 {
		return el("nav", at{"id", "pager", "hidden", "", "aria-label", "Pages"})
	}
	link := func(id, words string, page int) node {
		if page < 1 || page > f.Pages {
			return el("span", at{"id", id, "class", "button off"}, text(words))
		}
		return el("a", at{"id", id, "class", "button", "href", v.query.at(page).link() + "#users-h"}, text(words))
	}
	return el("nav", at{"id", "pager", "class", "pager", "aria-label", "Pages"},
		link("pager-back", "Previous", f.Page-1), el("span", nil, text("Page "+number(f.Page)+" of "+number(f.Pages))),
		link("pager-on", "Next", f.Page+1))
}

// moreUsers says why there is nobody.
func (v *view) moreUsers() node {
	words := ""
	switch {
	case len(v.Users) > 0:
	case v.query.Text != "" && v.query.Group != "":
		words = "No user of this state has “" + v.query.Text + "” in its name."
	case v.query.Text != "":
		words = "No user's name contains “" + v.query.Text + "”."
	case v.query.Group != "":
		words = "No user is in this state."
	default:
		words = "Nobody is managed yet. Select users in keyrot.yaml or with --users; keyrot takes them in within a minute."
	}
	return el("p", at{"id", "more", "class", "more"}, text(words))
}
