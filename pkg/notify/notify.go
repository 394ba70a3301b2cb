// Package notify tells people what they have to know: troubles and changes at
// once, rotations as a digest. It is fed by the rotator and by a watchdog, and
// sends through mail and chat channels.
//
// What is to be told is kept in one setting of the store, the book, which all
// processes share: a trouble is told once, until it is over or becomes another
// one, whoever sees it. It counts as told when some channel took a message
// that names it. Messages leave from an outbox in the book, at least once, each
// with an id that receivers can recognise it by, and through each channel at
// its own pace. While the store cannot be written, a copy of the book in memory
// takes its place. Nothing here ever delays a rotation: what the rotator tells
// is taken down in memory and written a moment later. A crash in that moment
// loses at most lines of the digest, since troubles are read from the rotator's
// records again.
//
// It never holds a secret, and key ids only shortened.
package notify

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Kind says how an item is told.
type Kind string

// The kinds.
const (
	Trouble  Kind = "trouble"  // told once, until it is over
	Over     Kind = "over"     // a trouble that was told has ended
	Change   Kind = "change"   // happened once; told at once
	Rotation Kind = "rotation" // counted in the digest
)

// Item is one thing to tell.
type Item struct {
	Kind  Kind      `json:"kind"`
	User  string    `json:"user,omitempty"` // empty: about keyrot itself
	What  string    `json:"what"`           // which trouble, for telling it once
	Title string    `json:"title"`          // "AWS denies creating a key"
	Text  string    `json:"text,omitempty"` // the error, or more about it
	Do    string    `json:"do,omitempty"`   // what to do about it
	Key   string    `json:"key,omitempty"`  // shortened
	At    time.Time `json:"at"`

	Urgent bool `json:"urgent,omitempty"` // about a leaked or refused key: goes first, and in a message of its own
}

// Digest is how rotations are told.
type Digest string

// The digests.
const (
	Each   Digest = "each"
	Hourly Digest = "hourly"
	Daily  Digest = "daily" // at midnight UTC
)

// Channel sends messages to one receiver, so that whoever cannot be reached
// holds up nobody else. Send may be called again with a message that went out
// already. Implementations are safe for concurrent use, return when ctx ends,
// and their errors hold no secret; a [Busy] says when to come again.
type Channel interface {
	Name() string // unique among the channels
	Send(ctx context.Context, m Message) error
}

// Notifier collects items and sends messages. Its exported fields are its
// dependencies and must not be changed once a method was called. It is safe
// for concurrent use, and any number of Notifiers in any number of processes
// may share one store.
type Notifier struct {
	Settings rotate.Settings
	Channels []Channel
	Instance string           // names this keyrot in subjects, such as an account's alias; may be empty
	Digest   Digest           // default Daily
	Gather   time.Duration    // troubles and changes of so long go into one message; default 10 s
	Log      *slog.Logger     // nil: discarded
	Now      func() time.Time // nil: time.Now

	once    sync.Once
	wake    chan struct{}   // the collector
	work    []chan struct{} // the channels' deliverers
	mu      sync.Mutex
	queue   []entry
	lost    int             // entries that did not fit
	open    map[string]bool // users with a trouble, as the book was seen last; nil: it was not
	last    []byte          // the stored book as it was seen last
	failing time.Time       // since when the store fails; zero: it does not
	away    *absence        // nil: the stored book is in use
}

// entry is an item to note, or word that troubles are over.
type entry struct {
	Item
	over func(user, what string) bool // which troubles of the user; nil: none
	all  bool                         // of all users, as they were seen at At
	once string                       // what is the same news, which is not told again within an hour; "": nothing
}

// maxQueue bounds the entries that wait to be taken into the book.
const maxQueue = 50_000

func (n *Notifier) init() {
	n.once.Do(func() {
		n.wake = make(chan struct{}, 1)
		for range n.Channels {
			n.work = append(n.work, make(chan struct{}, 1))
		}
		if n.Log == nil {
			n.Log = slog.New(slog.DiscardHandler)
		}
		if n.Now == nil {
			n.Now = time.Now
		}
		if n.Digest == "" {
			n.Digest = Daily
		}
		if n.Gather <= 0 {
			n.Gather = 10 * time.Second
		}
	})
}

func (n *Notifier) now() time.Time { return n.Now().UTC().Round(0) }

// Observe takes down what a step means to people. It is meant for
// rotate.Rotator.Observe, and returns at once.
func (n *Notifier) Observe(user string, step plan.Step, err error) {
	n.init()
	n.put(entriesOf(user, step, err, n.now())...)
}

// Target takes down that a publisher fails for all users, or that it works
// (nil). It is meant for rotate.Rotator.Target, and returns at once.
func (n *Notifier) Target(name string, cause error) {
	if cause == nil {
		n.Ended("", isDown+name)
		return
	}
	n.Tell(Item{
		Kind: Trouble, What: isDown + name, Title: "publisher " + clean(name) + " fails for all users", Text: clean(cause.Error()),
		Do: "Look at its target. Keys in use keep working; keyrot tries it once a minute and publishes to all once it works.",
	})
}

// Tell takes an item down and returns at once.
func (n *Notifier) Tell(it Item) {
	n.init()
	if it.At.IsZero() {
		it.At = n.now()
	}
	n.put(entry{Item: it})
}

// Ended takes down that a trouble is over and returns at once.
func (n *Notifier) Ended(user, what string) {
	n.init()
	n.put(entry{Item: Item{User: user, At: n.now()}, over: func(u, w string) bool { return w == what }})
}

func (n *Notifier) put(es ...entry) {
	if len(es) == 0 {
		return
	}
	n.mu.Lock()
	if room := maxQueue - len(n.queue); len(es) > room {
		n.lost += len(es) - max(room, 0)
		es = es[:max(room, 0)]
	}
	n.queue = append(n.queue, es...)
	hurry := slices.ContainsFunc(es, n.presses)
	n.mu.Unlock()
	if hurry {
		nudge(n.wake)
	}
}

// presses reports whether an entry is to be written down at once. Rotations that
// a digest counts, and word that troubles are over that nobody has, wait for
// others: of thousands of users some rotate every second, and the book is large.
// The mutex is held.
func (n *Notifier) presses(e entry) bool {
	switch {
	case e.all:
		return false
	case e.over != nil:
		return n.open == nil || n.open[e.User]
	case e.Kind == Rotation:
		return n.Digest == Each
	case e.Kind == Trouble && n.open != nil:
		n.open[e.User] = true
	}
	return true
}

// Pending reports whether something was taken down and is not written yet.
func (n *Notifier) Pending() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.queue) > 0
}

func (n *Notifier) take() []entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queue
	n.queue = nil
	if n.lost > 0 {
		n.Log.Warn("notices were dropped while the store could not be written", "count", n.lost)
		n.lost = 0
	}
	return q
}

// back puts entries first again, ahead of what came since.
func (n *Notifier) back(es []entry) {
	n.mu.Lock()
	n.queue = append(es, n.queue...)
	n.mu.Unlock()
}

// names returns the names of the channels.
func (n *Notifier) names() []string {
	names := make([]string, len(n.Channels))
	for i, c := range n.Channels {
		names[i] = c.Name()
	}
	return names
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
