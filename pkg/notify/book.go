package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds on what a message lists. What the book holds is bounded in bytes.
const (
	maxItems  = 50       // items that a message tells in detail; the rest are named
	maxBody   = 24 << 10 // bytes of a message, about; what is more goes into the next one
	maxTally  = 10_000   // users that a digest counts one by one
	maxCounts = 4 * maxItems
)

// book is what the processes share. All of it changes in one save.
//
// A trouble in Troubles is in Fresh, or in a message of the Outbox that no
// channel took yet, or in one that some channel took: then people were told.
type book struct {
	ID       string                     `json:"id"`                 // makes the ids of messages unique
	Seq      int64                      `json:"seq"`                // of the last message
	Troubles map[string]map[string]open `json:"troubles,omitempty"` // by user and What
	Fresh    []Item                     `json:"fresh,omitempty"`    // not in a message yet
	Tally    tally                      `json:"tally,omitzero"`
	Outbox   []parcel                   `json:"outbox,omitempty"`
	Lines    map[string]line            `json:"lines,omitempty"` // by channel
	Once     map[string]time.Time       `json:"once,omitempty"`  // news of the last hour that repeat themselves
}

// open is a trouble that is not over.
type open struct {
	Title string    `json:"title"`
	At    time.Time `json:"at"`
	Sent  bool      `json:"sent,omitempty"` // it is in a message
}

// tally counts rotations since the last digest.
type tally struct {
	Since time.Time      `json:"since,omitzero"`
	Users map[string]int `json:"users,omitempty"`
	Other int            `json:"other,omitempty"` // rotations of users that are not in Users
}

// note takes an entry in and reports whether that changed anything.
func (b *book) note(e entry, d Digest) bool {
	if e.all {
		return b.sweep(e)
	}
	if e.over != nil {
		return b.end(e)
	}
	if e.once != "" && b.told(e.once, e.At) {
		return false
	}
	switch e.Kind {
	case Rotation:
		b.count(e.Item)
		if d != Each {
			return true
		}
	case Trouble:
		if _, known := b.Troubles[e.User][e.What]; known {
			return false
		}
		b.remember(e.User, e.What, open{Title: e.Title, At: e.At})
	}
	it := e.Item
	if len(b.Fresh) >= maxItems && !it.Urgent { // it is named only
		it.Text, it.Do = "", ""
	}
	b.Fresh = append(b.Fresh, it)
	return true
}

// told reports whether the news came within the last hour, and remembers them.
func (b *book) told(news string, at time.Time) bool {
	maps.DeleteFunc(b.Once, func(_ string, t time.Time) bool { return at.Sub(t).Abs() >= time.Hour })
	if _, known := b.Once[news]; known {
		return true
	}
	if b.Once == nil || len(b.Once) >= maxItems {
		b.Once = map[string]time.Time{}
	}
	b.Once[news] = at
	return false
}

func (b *book) remember(user, what string, o open) {
	if b.Troubles == nil {
		b.Troubles = map[string]map[string]open{}
	}
	if b.Troubles[user] == nil {
		b.Troubles[user] = map[string]open{}
	}
	b.Troubles[user][what] = o
}

// forget removes a trouble; it is told again if it is still there.
func (b *book) forget(user, what string) {
	delete(b.Troubles[user], what)
	if len(b.Troubles[user]) == 0 {
		delete(b.Troubles, user)
	}
}

// end closes troubles. One that is in no message yet is forgotten.
func (b *book) end(e entry) (changed bool) {
	for what, o := range b.Troubles[e.User] {
		if !e.over(e.User, what) {
			continue
		}
		changed = true
		b.forget(e.User, what)
		if !o.Sent {
			b.Fresh = slices.DeleteFunc(b.Fresh, func(i Item) bool { return i.Kind == Trouble && i.User == e.User && i.What == what })
			continue
		}
		it := Item{Kind: Over, User: e.User, What: what, At: e.At, Title: o.Title}
		if len(b.Fresh) < maxItems {
			it.Do = "It is over. It lasted " + e.At.Sub(o.At).Round(time.Second).String() + "."
		}
		b.Fresh = append(b.Fresh, it)
	}
	return changed
}

// sweep closes troubles of all users. One that began after they were seen is
// left alone.
func (b *book) sweep(e entry) (changed bool) {
	for _, user := range slices.Sorted(maps.Keys(b.Troubles)) {
		one := e
		one.User = user
		one.over = func(user, what string) bool {
			return !b.Troubles[user][what].At.After(e.At) && e.over(user, what)
		}
		changed = b.end(one) || changed
	}
	return changed
}

func (b *book) count(it Item) {
	t := &b.Tally
	if t.Since.IsZero() {
		t.Since = it.At
	}
	if t.Users == nil {
		t.Users = map[string]int{}
	}
	if _, known := t.Users[it.User]; !known && len(t.Users) >= maxTally {
		t.Other++
		return
	}
	t.Users[it.User]++
}

// freshDue is when the fresh items go out; zero if there are none.
func (b *book) freshDue(gather time.Duration) time.Time {
	if len(b.Fresh) == 0 {
		return time.Time{}
	}
	return b.Fresh[0].At.Add(gather)
}

// digestDue is when the digest goes out; zero if there is none to come.
func (b *book) digestDue(d Digest) time.Time {
	period := 24 * time.Hour
	switch {
	case b.Tally.Since.IsZero(), d == Each:
		return time.Time{}
	case d == Hourly:
		period = time.Hour
	}
	return b.Tally.Since.Truncate(period).Add(period)
}

// compose makes messages of what is due, and returns when to look again; zero
// if nothing is waiting.
func (b *book) compose(n *Notifier, now time.Time, flush bool) time.Time {
	if at := b.freshDue(n.Gather); !at.IsZero() && (flush || !now.Before(at)) {
		for _, m := range newsOf(n.Instance, b.Fresh, now) {
			b.post(n, m)
		}
		for _, it := range b.Fresh {
			if o, ok := b.Troubles[it.User][it.What]; ok && it.Kind == Trouble {
				o.Sent = true
				b.Troubles[it.User][it.What] = o
			}
		}
		b.Fresh = nil
	}
	if at := b.digestDue(n.Digest); !at.IsZero() && !now.Before(at) {
		b.post(n, b.digestOf(n.Instance, now))
		b.Tally = tally{}
	}
	if n.Digest == Each {
		b.Tally = tally{}
	}
	return earliest(b.freshDue(n.Gather), b.digestDue(n.Digest))
}

// newsOf makes as many messages of the items as it takes to name all of them:
// first of what is urgent, then of the rest, worst first.
func newsOf(instance string, items []Item, now time.Time) []Message {
	rank := map[Kind]int{Trouble: 0, Change: 1, Over: 2, Rotation: 3}
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(x, y Item) int {
		if x.Urgent != y.Urgent {
			return cmp.Compare(fmt.Sprint(y.Urgent), fmt.Sprint(x.Urgent))
		}
		return cmp.Compare(rank[x.Kind], rank[y.Kind])
	})
	var out []Message
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && items[n].Urgent == items[0].Urgent {
			if size += items[n].size(n < maxItems); n > 0 && size > maxBody {
				break
			}
			n++
		}
		m := Message{At: now, Items: items[:n:n]}
		m.Subject = subject(instance, m.Items)
		out, items = append(out, m), items[n:]
	}
	return out
}

// size is about what an item adds to a message's text, in bytes.
func (it Item) size(detailed bool) int {
	if detailed {
		return len(it.User) + len(it.Title) + len(it.Text) + len(it.Do) + 80
	}
	return len(it.User) + 2
}

func (b *book) digestOf(instance string, now time.Time) Message {
	m := Message{At: now, Since: b.Tally.Since}
	total := b.Tally.Other
	for user, count := range b.Tally.Users {
		m.Counts = append(m.Counts, Count{User: user, Rotations: count})
		total += count
	}
	slices.SortFunc(m.Counts, func(x, y Count) int { return cmp.Compare(x.User, y.User) })
	users := len(m.Counts)
	m.Counts = m.Counts[:min(users, maxCounts)]
	for user, whats := range b.Troubles {
		for what, o := range whats {
			m.Items = append(m.Items, Item{Kind: Trouble, User: user, What: what, Title: o.Title, At: o.At})
		}
	}
	slices.SortFunc(m.Items, func(x, y Item) int {
		return cmp.Or(x.At.Compare(y.At), strings.Compare(x.User, y.User), strings.Compare(x.What, y.What))
	})
	problems := len(m.Items)
	m.Items = m.Items[:min(problems, maxItems)]
	m.More = users - len(m.Counts) + problems - len(m.Items)
	m.Subject = prefix(instance) + fmt.Sprintf("%s of %s", plural(total, "rotation"), plural(users, "user"))
	if problems > 0 {
		m.Subject += ", " + plural(problems, "open problem")
	}
	m.Rotations = total
	return m
}

func earliest(ts ...time.Time) time.Time {
	var first time.Time
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
