package page

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/templates/web"
)

// view is what one session sees. It may be shared by several.
type view struct {
	Status // with the users of the page that was asked for, whole
	query  Query
	found  Found
	open   []string // whose cards are open
	all    bool     // no user is hidden from this session

	once  sync.Once
	drawn drawing
}

// newView narrows the snapshot to what the key may see and the query asks for.
func (p *Page) newView(s *snapshot, key auth.Key, q Query) *view {
	v := &view{Status: s.Status, query: q, all: key.SeesAll()}
	sees := func(string) bool { return true }
	if !v.all {
		sees, v.Callers = key.Sees, nil
		v.Users = slices.DeleteFunc(slices.Clone(s.Users), func(u User) bool { return !sees(u.Name) })
		v.sum()
	}
	v.Events = p.History.Events(v.Total <= PageSize, sees)
	v.found = q.Find(v.Users)
	v.query.Page = v.found.Page
	var names []string
	for _, u := range v.found.Users {
		names = append(names, u.Name)
	}
	v.open = names
	if len(names) > fewUsers {
		v.open = nil
	}
	for _, name := range slices.Backward(q.open) { // a card that is open is shown, whatever page it is on
		if !slices.Contains(v.open, name) && sees(name) {
			v.open = append(v.open, name)
		}
		if !slices.Contains(names, name) && sees(name) {
			names = slices.Insert(names, 0, name)
		}
	}
	v.Users = make([]User, 0, len(names))
	for _, name := range names {
		if u, ok := p.user(s, name); ok {
			v.Users = append(v.Users, u)
		}
	}
	return v
}

// shows reports whether the user's card is open, and whether it can be closed.
func (v *view) shows(user string) (open, closable bool) {
	return slices.Contains(v.open, user), len(v.found.Users) > fewUsers || slices.Contains(v.query.open, user)
}

// fragment is a part of the page that is replaced when it changes.
type fragment struct {
	id string
	node
}

// list is a part of the page whose items are replaced one by one.
type list struct {
	id    string
	items []fragment
}

// Ids of the lists.
const (
	usersID  = "users"
	eventsID = "event-list"
)

// parts are those of the page that are replaced as a whole.
func (v *view) parts() []fragment {
	return []fragment{
		{"banner", v.banner()},
		{"shown", v.shown()},
		{"clear", v.clear()},
		{"filters", v.filters()},
		{"legend", v.legend()},
		{"heads", v.heads()},
		{"more", v.moreUsers()},
		{"pager", v.pager()},
		{"events-none", v.noEvents()},
		{"callers", v.callersList()},
	}
}

// lists are the users and the events. Where the script moves the time axes, for
// which now is zero, a user looks the same until something changes; a page as
// it stands shows now.
func (v *view) lists(now time.Time) []list {
	users, events := list{id: usersID}, list{id: eventsID}
	for _, u := range v.Users {
		id := cardID(u.Name)
		open, closable := v.shows(u.Name)
		n := v.line(u, id, now)
		if open {
			n = v.card(u, id, closable, now)
		}
		users.items = append(users.items, fragment{id, n})
	}
	for _, e := range v.Events {
		id := "e-" + brief(e.At.Format(time.RFC3339Nano)+e.User+e.Text+e.Key)
		if slices.ContainsFunc(events.items, func(f fragment) bool { return f.id == id }) {
			continue
		}
		events.items = append(events.items, fragment{id, eventItem(e, id)})
	}
	return []list{users, events}
}

// cardID is the element id of a user. Names hold characters that ids should
// not.
func cardID(user string) string { return "u-" + brief(user) }

func brief(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// document is a whole page.
func document(title string, body node) node {
	return el("html", at{"lang", "en"},
		el("head", nil,
			el("meta", at{"charset", "utf-8"}),
			el("meta", at{"name", "viewport", "content", "width=device-width, initial-scale=1"}),
			el("meta", at{"name", "color-scheme", "content", "light dark"}),
			el("title", nil, text(title)),
			el("link", at{"rel", "icon", "type", "image/svg+xml", "href", pathIcon + "?v=" + web.Icon.Hash}),
			el("link", at{"rel", "stylesheet", "href", pathCSS + "?v=" + web.CSS.Hash}),
			el("script", at{"src", pathJS + "?v=" + web.JS.Hash}),
		),
		el("body", nil, body))
}

func logo() node {
	return el("svg", at{"class", "logo", "viewBox", "0 0 32 32", "width", "28", "height", "28", "aria-hidden", "true"},
		el("path", at{"class", "logo-ring", "d", "M26 9 A12 12 0 1 0 28 16"}),
		el("path", at{"class", "logo-ring", "d", "M27 3 V9.5 H20.5"}),
		el("circle", at{"class", "logo-key", "cx", "13", "cy", "16", "r", "3.6"}),
		el("path", at{"class", "logo-key", "d", "M16.6 16 H23 M20.5 16 V19"}))
}

func head(v *view) node {
	return group{
		el("a", at{"class", "skip", "href", "#users"}, text("Skip to the users")),
		el("header", at{"class", "top"},
			el("h1", nil, logo(), text("keyrot")),
			el("span", at{"class", "live", "id", "live", "hidden", ""},
				el("span", at{"class", "dot", "aria-hidden", "true"}), el("span", at{"id", "live-text"}, text("live"))),
			el("div", at{"class", "actions"},
				el("button", at{"type", "button", "id", "theme", "hidden", ""}, text("Dark")),
				el("form", at{"method", "post", "action", pathLogout}, el("button", at{"type", "submit"}, text("Log out")))),
		),
		el("p", at{"class", "still"}, text("As of "+v.At.UTC().Format("15:04:05 MST")+". Without JavaScript this page does not update "+
			"itself: reload it to see what is new.")),
	}
}

func (v *view) body(now time.Time) node {
	part, items := map[string]node{}, map[string]group{}
	for _, f := range v.parts() {
		part[f.id] = f.node
	}
	for _, l := range v.lists(now) {
		for _, f := range l.items {
			items[l.id] = append(items[l.id], f.node)
		}
	}
	return el("main", at{"data-stream", v.stream(), "data-now", milliseconds(now)},
		definitions(),
		part["banner"],
		el("div", at{"class", "columns"},
			el("section", at{"class", "users", "aria-labelledby", "users-h"},
				el("div", at{"class", "bar-top"},
					el("h2", at{"id", "users-h"}, text("Users")), part["shown"], v.search(part["clear"]), part["filters"], part["legend"]),
				part["heads"],
				el("ul", at{"id", usersID, "tabindex", "-1", "aria-labelledby", "users-h"}, items[usersID]), part["more"], part["pager"],
				el("p", at{"id", "said", "class", "hide", "role", "status"})),
			el("div", at{"class", "side"}, v.feed(part["events-none"], items[eventsID]), part["callers"])))
}

// stream is the address of the changes of what is shown.
func (v *view) stream() string {
	q := "have=" + v.drawing().encode()
	if s := v.query.encode(); s != "" {
		q = s + "&" + q
	}
	return pathEvents + "?" + q
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func (v *view) search(clear node) node {
	return el("form", at{"class", "search", "role", "search", "method", "get", "action", pathHome},
		el("label", at{"for", "q", "class", "hide"}, text("Find users")),
		el("input", at{
			"id", "q", "name", "q", "type", "search", "maxlength", strconv.Itoa(maxName), "placeholder", "Find users",
			"value", v.query.Text, "autocomplete", "off",
		}),
		el("button", at{"type", "submit"}, text("Find")), clear)
}

// legend names the colours and forms of the timelines.
func (v *view) legend() node {
	item := func(pic node, name string) node { return el("li", nil, pic, text(name)) }
	swatch := func(class string) node {
		return el("svg", at{"width", "26", "height", "14", "aria-hidden", "true"},
			el("rect", at{"class", "bar " + class, "x", "1", "y", "2", "width", "24", "height", "10", "rx", "3"}))
	}
	plannedSwatch := func() node {
		return el("svg", at{"width", "26", "height", "14", "aria-hidden", "true"},
			el("rect", at{"class", "bar current", "x", "1", "y", "2", "width", "24", "height", "10", "rx", "3"}),
			el("rect", at{"fill", "url(#planned)", "width", "26", "height", "14"}))
	}
	sign := func(kind string) node {
		return el("svg", at{"width", "14", "height", "14", "aria-hidden", "true"},
			el("svg", at{"x", "7", "y", "7", "overflow", "visible"}, el("path", at{"class", "mark " + kind, "d", shapes[kind]})))
	}
	items := group{
		item(swatch("pending"), "being proven"), item(swatch("current"), "handed out"), item(swatch("previous"), "superseded, works"),
		item(swatch("inactive"), "off"), item(plannedSwatch(), "planned"),
	}
	if slices.ContainsFunc(v.Users, func(u User) bool { open, _ := v.shows(u.Name); return open }) {
		for _, kind := range []string{"created", "verified", "promoted", "deactivated", "deleted"} {
			items = append(items, item(sign(kind), kind))
		}
	}
	return el("ul", at{"id", "legend", "class", "legend", "aria-label", "Legend of the timelines"}, items)
}

// notice is a page with one message.
func notice(title, words string) node {
	return el("main", at{"class", "alone"}, el("div", at{"class", "panel"}, logo(), el("h1", nil, text(title)), el("p", nil, text(words))))
}

// loginPage is the form, with what went wrong.
func loginPage(wrong string) node {
	var alert node
	input := at{
		"id", "key", "name", "key", "type", "password", "autocomplete", "off", "spellcheck", "false", "required", "",
		"autofocus", "", "aria-describedby", "key-help",
	}
	if wrong != "" {
		alert = el("p", at{"class", "alert", "role", "alert", "id", "key-wrong"}, text(wrong))
		input = append(input, "aria-invalid", "true", "aria-errormessage", "key-wrong")
	}
	return el("main", at{"class", "alone"},
		el("form", at{"class", "panel", "method", "post", "action", pathLogin},
			logo(), el("h1", nil, text("Log in to keyrot")), group{alert},
			el("label", at{"for", "key"}, text("API key")),
			el("input", input),
			el("button", at{"type", "submit", "class", "primary"}, text("Log in")),
			el("p", at{"id", "key-help", "class", "help"}, text("A key of the role viewer is enough. To make one: "),
				el("code", nil, text("keyrot api-key create --role viewer")))))
}
