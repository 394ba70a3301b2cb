package rotatetest

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// index keeps the users of a MemStore in the two orders that it is asked for.
// A simulated daemon asks every second, and most of the time nobody is due.
type index struct {
	users []string         // by name
	due   map[bool][]dueAt // by whether they only need a key: earliest first, then by name
}

type dueAt struct {
	at   time.Time
	user string
}

func (d dueAt) compare(o dueAt) int {
	return cmp.Or(d.at.Compare(o.at), strings.Compare(d.user, o.user))
}

// set enters a user, or moves it to another due time.
func (x *index) set(user string, creates bool, at time.Time) {
	if i, known := slices.BinarySearch(x.users, user); !known {
		x.users = slices.Insert(x.users, i, user)
	} else {
		x.forget(user)
	}
	d := dueAt{at.Round(0), user} // without a monotonic reading: one order for all
	if x.due == nil {
		x.due = map[bool][]dueAt{}
	}
	i, _ := slices.BinarySearchFunc(x.due[creates], d, dueAt.compare)
	x.due[creates] = slices.Insert(x.due[creates], i, d)
}

func (x *index) remove(user string) {
	if i, known := slices.BinarySearch(x.users, user); known {
		x.users = slices.Delete(x.users, i, i+1)
		x.forget(user)
	}
}

func (x *index) forget(user string) {
	for creates := range x.due {
		if i := slices.IndexFunc(x.due[creates], func(d dueAt) bool { return d.user == user }); i >= 0 {
			x.due[creates] = slices.Delete(x.due[creates], i, i+1)
		}
	}
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
