package notify

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// bookName is the setting that holds the book.
const bookName = "notify/book"

// Bounds that keep the book small whatever happens.
const (
	maxOpen   = 2000 // troubles that are remembered as told
	maxItems  = 50   // items that a message lists; the rest are counted
	maxTally  = 2000 // users that a digest counts one by one
	maxOutbox = 50   // messages that wait to be sent
)

// book is what the processes share. All of it changes in one save.
type book struct {
	ID     string          `json:"id"`  // makes the ids of messages unique
	Seq    int64           `json:"seq"` // of the last message
	Open   map[string]open `json:"open,omitempty"`
	Fresh  []Item          `json:"fresh,omitempty"` // not in a message yet
	More   int             `json:"more,omitempty"`  // fresh ones that did not fit
	Tally  tally           `json:"tally,omitzero"`
	Outbox []parcel        `json:"outbox,omitempty"`
}

// open is a trouble that is not over.
type open struct {
	Title string    `json:"title"`
	At    time.Time `json:"at"`
	Told  bool      `json:"told,omitempty"`
}

// tally counts rotations since the last digest.
type tally struct {
	Since time.Time      `json:"since,omitzero"`
	Users map[string]int `json:"users,omitempty"`
	Other int            `json:"other,omitempty"` // rotations of users that are not in Users
}

// parcel is a message on its way.
type parcel struct {
	Message
	Left  []string  `json:"left"` // channels that have not taken it
	Tries int       `json:"tries,omitempty"`
	Next  time.Time `json:"next"` // not before; also the claim of who sends it
}

func openKey(user, what string) string { return user + "\x1f" + what }

// note takes an entry in.
func (b *book) note(e entry, d Digest) {
	if e.over != nil {
		b.end(e)
		return
	}
	key := openKey(e.User, e.What)
	switch e.Kind {
	case Rotation:
		b.count(e.Item)
		if d != Each {
			return
		}
	case Trouble:
		if _, known := b.Open[key]; known {
			return
		}
		if len(b.Open) >= maxOpen {
			b.More++
			return
		}
		if b.Open == nil {
			b.Open = map[string]open{}
		}
		b.Open[key] = open{Title: e.Title, At: e.At, Told: e.told}
		if e.told {
			return
		}
	}
	if len(b.Fresh) >= maxItems {
		b.More++
		return
	}
	b.Fresh = append(b.Fresh, e.Item)
}

// end closes troubles. One that nobody was told of yet is forgotten.
func (b *book) end(e entry) {
	for key, o := range b.Open {
		user, what, _ := strings.Cut(key, "\x1f")
		if user != e.User || !e.over(user, what) {
			continue
		}
		delete(b.Open, key)
		if !o.Told {
			b.Fresh = slices.DeleteFunc(b.Fresh, func(i Item) bool { return i.Kind == Trouble && openKey(i.User, i.What) == key })
			continue
		}
		if len(b.Fresh) >= maxItems {
			b.More++
			continue
		}
		b.Fresh = append(b.Fresh, Item{
			Kind: Over, User: user, What: what, At: e.At, Title: o.Title,
			Do: "It is over. It lasted " + e.At.Sub(o.At).Round(time.Second).String() + ".",
		})
	}
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
		b.post(n, b.newsOf(n.Instance, now))
		for _, it := range b.Fresh {
			key := openKey(it.User, it.What)
			if o, ok := b.Open[key]; ok && it.Kind == Trouble {
				o.Told = true
				b.Open[key] = o
			}
		}
		b.Fresh, b.More = nil, 0
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

// post puts a message into the outbox. If that is full, the oldest one goes.
func (b *book) post(n *Notifier, m Message) {
	b.Seq++
	m.ID = fmt.Sprintf("%s-%d", b.ID, b.Seq)
	p := parcel{Message: m, Next: m.At}
	for _, c := range n.Channels {
		p.Left = append(p.Left, c.Name())
	}
	if len(b.Outbox) >= maxOutbox {
		n.Log.Error("a message is dropped: too many cannot be sent", "subject", b.Outbox[0].Subject)
		b.Outbox = b.Outbox[1:]
	}
	b.Outbox = append(b.Outbox, p)
}

func (b *book) newsOf(instance string, now time.Time) Message {
	m := Message{At: now, Items: slices.Clone(b.Fresh), More: b.More}
	rank := map[Kind]int{Trouble: 0, Change: 1, Over: 2, Rotation: 3}
	slices.SortStableFunc(m.Items, func(x, y Item) int { return cmp.Compare(rank[x.Kind], rank[y.Kind]) })
	m.Subject = subject(instance, m.Items, m.More)
	return m
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
	if len(m.Counts) > 4*maxItems {
		m.Counts = m.Counts[:4*maxItems]
	}
	m.More = users - len(m.Counts)
	for key, o := range b.Open {
		user, what, _ := strings.Cut(key, "\x1f")
		m.Items = append(m.Items, Item{Kind: Trouble, User: user, What: what, Title: o.Title, At: o.At})
	}
	slices.SortFunc(m.Items, func(x, y Item) int { return x.At.Compare(y.At) })
	problems := len(m.Items)
	m.Items = m.Items[:min(len(m.Items), maxItems)]
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

// update changes the book in one save; change may be called several times. It
// returns false from change to save nothing.
func (n *Notifier) update(ctx context.Context, change func(*book) bool) error {
	for {
		fresh := book{ID: strings.ToLower(rand.Text()[:10])}
		b := fresh
		raw, version, err := n.Settings.Setting(ctx, bookName)
		switch {
		case errors.Is(err, rotate.ErrNotFound):
			version = 0
		case err != nil:
			return fmt.Errorf("reading the book of notices: %w", err)
		default:
			if err := json.Unmarshal(raw, &b); err != nil {
				n.Log.Error("the book of notices cannot be read; a new one is begun", "err", err)
				b = fresh
			}
		}
		if !change(&b) {
			return nil
		}
		if raw, err = json.Marshal(b); err != nil {
			return fmt.Errorf("encoding the book of notices: %w", err)
		}
		_, err = n.Settings.SaveSetting(ctx, bookName, raw, version)
		if !errors.Is(err, rotate.ErrConflict) {
			if err != nil {
				return fmt.Errorf("saving the book of notices: %w", err)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
