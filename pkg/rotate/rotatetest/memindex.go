package rotatetest

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// index keeps the users of a MemStore in the orders that it is asked for. A
// simulated daemon asks every second, and most of the time nobody is due.
type index struct {
	users []string         // by name
	due   map[bool][]dueAt // by whether they only need a key: earliest first, then by name
	at    map[string]where
}

type dueAt struct {
	at   time.Time
	user string
}

// where a user is found in due.
type where struct {
	dueAt
	creates bool
}

func (d dueAt) compare(o dueAt) int {
	return cmp.Or(d.at.Compare(o.at), strings.Compare(d.user, o.user))
}

// set enters a user, or moves it to another due time.
func (x *index) set(user string, creates bool, at time.Time) {
	if x.at == nil {
		x.due, x.at = map[bool][]dueAt{}, map[string]where{}
	}
	d := dueAt{at.Round(0), user} // without a monotonic reading: one order for all
	if old, known := x.at[user]; !known {
		i, _ := slices.BinarySearch(x.users, user)
		x.users = slices.Insert(x.users, i, user)
	} else if old == (where{d, creates}) {
		return
	} else {
		x.forget(user)
	}
	i, _ := slices.BinarySearchFunc(x.due[creates], d, dueAt.compare)
	x.due[creates], x.at[user] = slices.Insert(x.due[creates], i, d), where{d, creates}
}

func (x *index) remove(user string) {
	if i, known := slices.BinarySearch(x.users, user); known {
		x.users = slices.Delete(x.users, i, i+1)
		x.forget(user)
		delete(x.at, user)
	}
}

func (x *index) forget(user string) {
	old := x.at[user]
	i, _ := slices.BinarySearchFunc(x.due[old.creates], old.dueAt, dueAt.compare)
	x.due[old.creates] = slices.Delete(x.due[old.creates], i, i+1)
}

// until returns the first users, at most limit, that are due at t.
func (x *index) until(t time.Time, creates bool, limit int) []string {
	var users []string
	for _, d := range x.due[creates] {
		if d.at.After(t) || len(users) >= limit {
			break
		}
		users = append(users, d.user)
	}
	return users
}
