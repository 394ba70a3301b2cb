package page

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/templates/web"
)

// maxCards bounds the users that are shown at once; the others are found by
// searching.
const maxCards = 50

// view is what one session sees.
type view struct {
	Status
	query string // part of the names that were asked for
	more  int    // users that are not shown
	all   bool   // no user is hidden from this session
}

// view narrows the status to what the key may see and the query asks for.
func (p *Page) view(ctx context.Context, key auth.Key, query string) (*view, error) {
	s, err := p.all(ctx)
	if err != nil {
		return nil, err
	}
	v := &view{Status: *s, query: strings.TrimSpace(query), all: key.SeesAll()}
	if len(v.query) > 64 { // no IAM user's name is longer
		v.query = strings.ToValidUTF8(v.query[:64], "")
	}
	if !v.all {
		v.Callers = nil
		v.Users = slices.DeleteFunc(slices.Clone(s.Users), func(u User) bool { return !key.Sees(u.Name) })
		v.Events = slices.DeleteFunc(slices.Clone(s.Events), func(e Event) bool { return !key.Sees(e.User) })
		v.sum()
	}
	if v.query != "" {
		v.Users = slices.DeleteFunc(slices.Clone(v.Users), func(u User) bool {
			return !strings.Contains(strings.ToLower(u.Name), strings.ToLower(v.query))
		})
	}
	if n := len(v.Users) - maxCards; n > 0 {
		v.more, v.Users = n, v.Users[:maxCards]
	}
	return v, nil
}

// fragment is a part of the page that is replaced when it changes.
type fragment struct {
	id string
	node
}

// fragments are those of the page, in order: the cards last.
func (v *view) fragments() (parts, cards []fragment) {
	parts = []fragment{{"banner", v.banner()}, {"more", v.moreUsers()}, {"events", v.feed()}, {"callers", v.callersList()}}
	for _, u := range v.Users {
		id := cardID(u.Name)
		cards = append(cards, fragment{id, card(u, v, id)})
	}
	return parts, cards
}

// cardID is the element id of a user's card. Names hold characters that ids
// should not.
func cardID(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "u-" + hex.EncodeToString(sum[:6])
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

func (v *view) body() node {
	parts, cards := v.fragments()
	byID := map[string]node{}
	for _, f := range parts {
		byID[f.id] = f.node
	}
	var list group
	for _, c := range cards {
		list = append(list, c.node)
	}
	stream := pathEvents
	if v.query != "" {
		stream += "?q=" + url.QueryEscape(v.query)
	}
	return el("main", at{"data-events", stream},
		byID["banner"],
		el("div", at{"class", "columns"},
			el("section", at{"class", "users", "aria-labelledby", "users-h"},
				el("div", at{"class", "bar-top"}, el("h2", at{"id", "users-h"}, text("Users")), search(v), legend()),
				el("div", at{"id", "users", "tabindex", "-1"}, list), byID["more"]),
			el("div", at{"class", "side"}, byID["events"], byID["callers"])))
}

func search(v *view) node {
	return el("form", at{"class", "search", "role", "search", "method", "get", "action", pathHome},
		el("label", at{"for", "q", "class", "hide"}, text("Find users")),
		el("input", at{
			"id", "q", "name", "q", "type", "search", "maxlength", "64", "placeholder", "Find users", "value", v.query,
			"autocomplete", "off",
		}),
		el("button", at{"type", "submit"}, text("Find")))
}

// legend names the colours and forms of the timelines.
func legend() node {
	item := func(pic node, name string) node { return el("li", nil, pic, text(name)) }
	swatch := func(class string) node {
		return el("svg", at{"width", "26", "height", "14", "aria-hidden", "true"},
			el("rect", at{"class", "bar " + class, "x", "1", "y", "2", "width", "24", "height", "10", "rx", "3"}))
	}
	sign := func(kind string) node {
		return el("svg", at{"width", "14", "height", "14", "aria-hidden", "true"},
			el("svg", at{"x", "7", "y", "7", "overflow", "visible"}, el("path", at{"class", "mark " + kind, "d", shapes[kind]})))
	}
	return el("ul", at{"class", "legend", "aria-label", "Legend of the timelines"},
		item(swatch("pending"), "being proven"), item(swatch("current"), "handed out"), item(swatch("previous"), "superseded, works"),
		item(swatch("inactive"), "off"), item(swatch("current planned"), "planned"),
		item(sign("created"), "created"), item(sign("verified"), "verified"), item(sign("promoted"), "promoted"),
		item(sign("deactivated"), "deactivated"), item(sign("deleted"), "deleted"))
}

func (v *view) moreUsers() node {
	var words node
	switch {
	case v.more > 0:
		words = text("and " + strconv.Itoa(v.more) + " more. Those that need somebody come first; find others by name.")
	case len(v.Users) == 0 && v.query != "":
		words = text("No user's name contains “" + v.query + "”.")
	case len(v.Users) == 0:
		words = text("Nobody is managed yet. Select users in keyrot.yaml or with --users; keyrot takes them in within a minute.")
	}
	return el("p", at{"id", "more", "class", "more"}, group{words})
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
