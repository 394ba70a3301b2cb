package page

import (
	"slices"
	"strings"
	"time"
)

// icons of the levels; each differs in form too.
var icons = map[Level]string{
	Good: "M5 12.5 L10 17.5 L19 7.5",
	Warn: "M12 6 V13.5 M12 17.5 V17.6",
	Bad:  "M7 7 L17 17 M17 7 L7 17",
}

func icon(l Level) node {
	return el("svg", at{"class", "icon", "aria-hidden", "true"}, el("use", at{"href", "#icon-" + string(l)}))
}

func symbol(l Level) node {
	return el("symbol", at{"id", "icon-" + string(l), "viewBox", "0 0 24 24"}, el("path", at{"d", icons[l]}))
}

// banner says how all are, at a glance.
func (v *view) banner() node {
	var chips group
	chip := func(n int, word string, l Level) {
		if n > 0 {
			chips = append(chips, el("li", at{"class", "chip " + string(l)}, el("b", nil, text(number(n))), text(" "+word)))
		}
	}
	chip(v.Serving, "with a key that works", Good)
	chip(v.Total, "managed", "plain")
	var next node
	if n := v.Next; !n.At.IsZero() && v.Total <= PageSize { // of many users, something is always due
		next = el("p", at{"class", "next"}, text("Next: "), el("b", nil, text(n.User)), text(", "+n.What+" "), due(n.At))
	}
	return el("section", at{"id", "banner", "class", "banner " + string(v.Level), "aria-label", "Overall health"},
		icon(v.Level),
		el("div", nil, el("p", at{"class", "headline", "role", "status", "data-headline", ""}, text(v.Headline)), group{next}),
		el("ul", at{"class", "chips", "aria-label", "Numbers"}, chips...))
}

// card shows one user.
func (v *view) card(u User, id string, closable bool, now time.Time) node {
	var trouble group
	if u.Why != "" {
		why := el("p", nil, text(u.Why))
		if !u.Since.IsZero() {
			why.kids = append(why.kids, text(" It began "), when(u.Since), text("."))
		}
		trouble = append(trouble, why)
	}
	if u.Error != "" {
		trouble = append(trouble, el("p", at{"class", "error"}, el("b", nil, text("Last failure: ")), text(u.Error)))
	}
	if u.Do != "" {
		trouble = append(trouble, el("p", at{"class", "do"}, text(u.Do)))
	}
	var box, next node
	if trouble != nil {
		box = el("div", at{"class", "trouble " + string(u.Level)}, trouble...)
	}
	if !u.Next.At.IsZero() {
		next = el("p", at{"class", "next"}, text("Next: "+u.Next.What+" "), due(u.Next.At))
	}
	name := node(text(u.Name))
	if closable {
		name = el("a", at{
			"id", id + "-a", "class", "toggle", "href", v.query.closed(u.Name).link(), "aria-expanded", "true", "aria-controls", id,
		}, name)
	}
	return el("li", at{"id", id}, el("article", at{
		"class", "card " + string(u.Level), "aria-labelledby", id + "-h",
		"data-user", u.Name, "data-state", strings.ReplaceAll(u.State, " ", "-"),
	},
		el("div", at{"class", "card-top"}, el("h3", at{"id", id + "-h"}, name), badge(u), group{next}),
		group{box},
		timeline(u, v.At, now, id),
		el("details", at{"id", id + "-k"},
			el("summary", nil, text("Keys as a table"), el("span", at{"class", "hide"}, text(" for "+u.Name))), keyTable(u))))
}

func badge(u User) node {
	return el("span", at{"class", "badge " + string(u.Level)}, icon(u.Level), text(u.State))
}

// keyTable is the timeline in words.
func keyTable(u User) node {
	var rows group
	for _, k := range u.Keys {
		stage := stageOf(k)
		row := group{el("th", at{"scope", "row"}, text(orDash(k.ID))), el("td", at{"class", "stage", "data-stage", stage}, text(stage))}
		for _, m := range k.marks() {
			row = append(row, el("td", nil, momentNode(m.Moment)))
		}
		rows = append(rows, el("tr", at{"data-key", k.ID}, row...))
	}
	var heads group
	for _, h := range []string{"Key", "Stage", "Created", "Verified", "Promoted", "Deactivated", "Deleted"} {
		heads = append(heads, el("th", at{"scope", "col"}, text(h)))
	}
	return el("div", at{"class", "scroll", "tabindex", "0", "role", "region", "aria-label", "Keys of " + u.Name},
		el("table", nil, el("caption", at{"class", "hide"}, text("Keys of "+u.Name+", times in UTC")),
			el("thead", nil, el("tr", nil, heads...)), el("tbody", nil, rows...)))
}

func momentNode(m Moment) node {
	switch {
	case m.At.IsZero():
		return text("–")
	case m.Planned:
		return el("em", at{"title", "planned"}, clock(m.At), el("span", at{"class", "hide"}, text(" planned")))
	}
	return clock(m.At)
}

// stageOf words how a key is.
func stageOf(k Key) string {
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

// feed shows what happened.
func (v *view) feed(none node, items group) node {
	return el("section", at{"id", "events", "class", "panel-side", "aria-labelledby", "events-h"},
		el("h2", at{"id", "events-h"}, text("What happened")), none,
		el("div", at{"class", "scroll-y", "tabindex", "0", "role", "region", "aria-label", "Events, newest first"},
			el("ol", at{"id", eventsID}, items)))
}

// noEvents says why there are no events, or not all of them.
func (v *view) noEvents() node {
	words := ""
	switch {
	case v.Total > PageSize && len(v.Events) == 0:
		words = "Nothing but rotations. Orders and failures will be here."
	case v.Total > PageSize:
		words = "Orders and failures; a user's card shows its rotations."
	case len(v.Events) == 0:
		words = "Nothing has happened yet."
	}
	return el("p", at{"id", "events-none", "class", "none"}, text(words))
}

func eventItem(e Event, id string) node {
	line := group{text(e.Text)}
	if e.Key != "" {
		line = append(line, text(" "), el("code", nil, text(e.Key)))
	}
	if e.By != "" {
		line = append(line, el("span", at{"class", "by"}, text(" by "+e.By)))
	}
	var who node
	if e.User != "" {
		who = el("b", nil, text(e.User))
	}
	return el("li", at{"id", id, "class", "event " + string(e.Level)},
		el("span", at{"class", "event-top"}, group{who}, when(e.At)), el("span", at{"class", "event-text"}, line...))
}

// callersList shows who has API keys; never a key.
func (v *view) callersList() node {
	if !v.all {
		return el("section", at{"id", "callers", "hidden", ""})
	}
	var items group
	for _, c := range v.Callers {
		name := c.Name
		if name == "" {
			name = c.ID
		}
		last := node(text("never came"))
		if !c.Last.IsZero() {
			last = group{text("last came "), when(c.Last)}
		}
		who := "all users"
		if len(c.Users) > 0 && !slices.Contains(c.Users, "*") {
			who = strings.Join(c.Users, ", ")
		}
		sort := string(c.Role)
		if c.State != "good" {
			sort += ", " + c.State
		}
		items = append(items, el("li", at{"class", "caller " + c.State},
			el("span", at{"class", "event-top"}, el("b", nil, text(name)), el("span", at{"class", "role"}, text(sort))),
			el("span", at{"class", "event-text"}, text(who+" · "), last)))
	}
	body := el("ul", nil, items...)
	if len(items) == 0 {
		body = el("p", at{"class", "none"}, text("Nobody has an API key."))
	}
	return el("section", at{"id", "callers", "class", "panel-side", "aria-labelledby", "callers-h"},
		el("h2", at{"id", "callers-h"}, text("Callers")), body)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
