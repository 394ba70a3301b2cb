package page

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Group is what a list of users can be narrowed to: each user is in one.
type Group string

// The groups, the gravest first.
const (
	Leaked  Group = "leaked"  // a leaked key is not dead yet
	Late    Group = "late"    // overdue, or not looked at when it was due
	Held    Group = "held"    // something stands in the way: somebody has to act
	Paused  Group = "paused"  // by somebody
	Waiting Group = "waiting" // for a retry, IAM, the first key or an order
	OnTime  Group = "on-time"
)

// Groups are all of them, the gravest first.
var Groups = []Group{Leaked, Late, Held, Paused, Waiting, OnTime}

// ParseGroup reads the name of a group; the empty one stands for all users.
func ParseGroup(s string) (Group, error) {
	g := Group(s)
	if g != "" && !slices.Contains(Groups, g) {
		names := make([]string, len(Groups))
		for i, g := range Groups {
			names[i] = string(g)
		}
		return "", fmt.Errorf("no such state: %q; the states are %s", s, strings.Join(names, ", "))
	}
	return g, nil
}

// PageSize is how many users are shown at a time.
const PageSize = 50

const (
	maxName  = 64 // an IAM user's, in bytes
	maxOpen  = 4  // cards that are open at once
	fewUsers = 6  // so few users are shown as cards, without being opened
)

// Query narrows the list of users. The zero value shows the first page of all.
type Query struct {
	Text  string // part of the names, in small letters or capitals
	Group Group  // empty: all
	Page  int    // from 1; 0: the first
	open  []string
}

// queryOf reads what is asked for in an address. What is no query is left out.
func queryOf(v url.Values) Query {
	q := Query{Text: strings.TrimSpace(v.Get("q"))}
	if len(q.Text) > maxName {
		q.Text = strings.ToValidUTF8(q.Text[:maxName], "")
	}
	q.Group, _ = ParseGroup(v.Get("state"))
	q.Page, _ = strconv.Atoi(v.Get("page"))
	for _, user := range v["user"] {
		if user != "" && !slices.Contains(q.open, user) && len(q.open) < maxOpen {
			q.open = append(q.open, user)
		}
	}
	return q
}

func (q Query) encode() string {
	v := url.Values{}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.Group != "" {
		v.Set("state", string(q.Group))
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if len(q.open) > 0 {
		v["user"] = q.open
	}
	return v.Encode()
}

// link is the address of the page that shows q.
func (q Query) link() string {
	if s := q.encode(); s != "" {
		return pathHome + "?" + s
	}
	return pathHome
}

func (q Query) in(g Group) Query { return Query{Text: q.Text, Group: g} }

func (q Query) at(page int) Query { return Query{Text: q.Text, Group: q.Group, Page: page} }

// opened is q with the user's card open too; the one that was opened first is
// closed if there are too many.
func (q Query) opened(user string) Query {
	q.open = append(slices.Clone(q.open[max(0, len(q.open)+1-maxOpen):]), user)
	return q
}

func (q Query) closed(user string) Query {
	q.open = slices.DeleteFunc(slices.Clone(q.open), func(u string) bool { return u == user })
	return q
}

// Found is what a query found.
type Found struct {
	Users   []User        // of the page that was asked for
	Matched int           // users on all pages
	Page    int           // from 1
	Pages   int           // at least 1
	In      map[Group]int // how many the text finds in each group
	All     int           // in all groups
}

// Takes reports whether q asks for the user, on whatever page.
func (q Query) Takes(u User) bool { return q.names(u) && (q.Group == "" || q.Group == u.Group) }

func (q Query) names(u User) bool {
	return q.Text == "" || strings.Contains(strings.ToLower(u.Name), strings.ToLower(q.Text))
}

// Find applies q to users, who are in the order in which they are shown. A page
// behind the last one is the last one.
func (q Query) Find(users []User) Found {
	f := Found{In: map[Group]int{}}
	var list []User
	for _, u := range users {
		if !q.names(u) {
			continue
		}
		f.In[u.Group]++
		f.All++
		if q.Takes(u) {
			list = append(list, u)
		}
	}
	f.Matched = len(list)
	f.Pages = max(1, (len(list)+PageSize-1)/PageSize)
	f.Page = min(max(1, q.Page), f.Pages)
	from := (f.Page - 1) * PageSize
	f.Users = list[from:min(len(list), from+PageSize)]
	return f
}
