package page

import (
	"cmp"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Level is how good or bad something is.
type Level string

// The levels.
const (
	Good Level = "good" // as planned
	Warn Level = "warn" // somebody should know
	Bad  Level = "bad"  // somebody has to act
)

// Status is all that the page shows. It holds no secret.
type Status struct {
	At       time.Time `json:"at"`
	Level    Level     `json:"level"`
	Headline string    `json:"headline"`
	Burning  int       `json:"burning"` // users, as are the next ones
	Overdue  int       `json:"overdue"`
	Late     int       `json:"late"` // overdue, or not looked at when they were due
	Paused   int       `json:"paused"`
	Held     int       `json:"held"`    // something stands in the way
	Waiting  int       `json:"waiting"` // for something that comes by itself
	Serving  int       `json:"serving"` // with a key that can be handed out
	Total    int       `json:"total"`
	Next     Next      `json:"next,omitzero"` // of all users
	Users    []User    `json:"users"`         // those that need somebody first
	Callers  []Caller  `json:"callers,omitempty"`
	Events   []Event   `json:"events"` // newest first
}

// User is one IAM user.
type User struct {
	Name    string    `json:"name"`
	Level   Level     `json:"level"`
	State   string    `json:"state"`           // one or two words
	Group   Group     `json:"group"`           // see [Groups]
	Why     string    `json:"why,omitempty"`   // a sentence, if not all is well
	Do      string    `json:"do,omitempty"`    // what helps
	Error   string    `json:"error,omitempty"` // the last failure
	Since   time.Time `json:"since,omitzero"`  // of the state
	Next    Next      `json:"next,omitzero"`
	Serving bool      `json:"serving"`
	Paused  bool      `json:"paused"`
	Overdue bool      `json:"overdue"`
	Burning bool      `json:"burning"` // a leaked key is not dead yet
	Keys    []Key     `json:"keys"`    // oldest first; gone, present and planned

	past, ahead time.Duration // what the timeline shows around now
}

// Next is the next planned change.
type Next struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
	User string    `json:"user,omitempty"` // of several users' next changes

	short string // what, in a line
}

// Short is What in two or three words.
func (n Next) Short() string { return n.short }

// Moment is an instant in a key's life. Zero: unknown, or not to be.
type Moment struct {
	At      time.Time `json:"at"`
	Planned bool      `json:"planned,omitempty"`
}

// Key is one access key's life.
type Key struct {
	ID          string     `json:"id"`    // shortened; empty: not created yet
	Stage       plan.Stage `json:"stage"` // empty: planned, or gone
	Inactive    bool       `json:"inactive,omitempty"`
	Created     Moment     `json:"created,omitzero"`
	Verified    Moment     `json:"verified,omitzero"`
	Promoted    Moment     `json:"promoted,omitzero"`
	Superseded  Moment     `json:"superseded,omitzero"` // its successor was promoted
	Deactivated Moment     `json:"deactivated,omitzero"`
	Deleted     Moment     `json:"deleted,omitzero"`

	whole string // the access key id, while the log is read
}

// Facts are what a [Status] is made of.
type Facts struct {
	Entries []*rotate.Entry // without secrets
	Policy  func(user string) plan.Policy
	Past    func(user string) []Key // lives of keys that are gone, oldest first; nil: none is known
	Events  []Event
	Callers []Caller
}

// Build makes the read model for the instant now.
func Build(f Facts, now time.Time) Status {
	s := Status{At: now, Events: f.Events, Callers: f.Callers, Users: make([]User, 0, len(f.Entries))}
	for _, e := range f.Entries {
		u := userOf(e, f.Policy(e.Record.User).WithDefaults(), now)
		if f.Past != nil {
			u.Keys = merge(f.Past(u.Name), u.Keys, now.Add(-u.past))
		}
		s.Users = append(s.Users, u)
	}
	s.sum()
	return s
}

// sum counts the users, orders them and words the whole.
func (s *Status) sum() {
	s.Total, s.Overdue, s.Serving, s.Next = len(s.Users), 0, 0, Next{}
	in := map[Group]int{}
	for i := range s.Users {
		u := &s.Users[i]
		in[u.Group]++
		if u.Overdue && !u.Burning {
			s.Overdue++
		}
		if u.Serving {
			s.Serving++
		}
		if !u.Next.At.IsZero() && (s.Next.At.IsZero() || u.Next.At.Before(s.Next.At)) {
			s.Next = u.Next
			s.Next.User = u.Name
		}
	}
	s.Burning, s.Late, s.Held, s.Paused, s.Waiting = in[Leaked], in[Late], in[Held], in[Paused], in[Waiting]
	slices.SortStableFunc(s.Users, func(a, b User) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	s.Level, s.Headline = headline(*s)
}

func rank(u User) int {
	return slices.Index([]Level{Bad, Warn, Good}, u.Level)*len(Groups) + slices.Index(Groups, u.Group)
}

// userOf says how the user is, with the keys that the entry knows and those
// that are planned.
func userOf(e *rotate.Entry, p plan.Policy, now time.Time) User {
	r := e.Record
	u := User{Name: r.User, past: p.DeleteAfter + p.RotateEvery/4, ahead: p.DeactivateAfter}
	_, u.Serving = plan.Serve(r, p, now)
	u.Paused = r.Paused(now)
	since, late := plan.Overdue(r, p, now)
	u.Overdue = late && !u.Paused
	u.Burning = slices.ContainsFunc(rotate.OpenOrders(r), func(o rotate.OpenOrder) bool { return o.Kind == plan.Burn })
	word(&u, e, since, now)
	f := forecast{now: now, soon: soon(p, now)}
	u.Keys = merge(nil, f.lives(r, p), time.Time{})
	u.Next = nextOf(u.Keys, now)
	return u
}

// forecast plans what is to come.
type forecast struct {
	now  time.Time
	soon time.Time // when what is late is expected
}

// soon moves on in steps, so that what is late does not look new every second.
func soon(p plan.Policy, now time.Time) time.Time {
	step := max(time.Second, p.RotateEvery/30)
	return now.Truncate(step).Add(step)
}

func (f forecast) at(t time.Time) time.Time {
	if t.After(f.now) {
		return t
	}
	return f.soon
}

func (f forecast) planned(t time.Time) Moment { return Moment{At: f.at(t), Planned: true} }

// lives is what the record knows of its keys, and what the schedule plans.
func (f forecast) lives(r plan.Record, p plan.Policy) []Key {
	frozen := r.Paused(f.now) || p.Frozen != ""
	successor := Moment{} // when the Current key is to be superseded
	var next *Key
	if pending := r.In(plan.Pending); pending != nil && !frozen {
		successor = f.planned(later(pending.Made, pending.Proven).Add(max(0, p.Settle)))
	} else if !frozen && r.Released.IsZero() {
		slot := f.soon
		if cur := r.In(plan.Current); cur != nil && !r.Slot.IsZero() {
			slot = f.at(p.NextSlot(r.Slot))
		}
		successor = f.planned(slot.Add(max(0, p.Settle)))
		next = &Key{
			Created: Moment{slot, true}, Verified: Moment{successor.At, true}, Promoted: successor,
			Deactivated: Moment{slot.Add(p.DeactivateAfter), true}, Deleted: Moment{slot.Add(p.DeleteAfter), true},
		}
	}
	var keys []Key
	for _, h := range r.Keys {
		k := Key{
			ID: rotate.ShortID(h.ID), Stage: h.Stage, Inactive: !h.Deactivated.IsZero(),
			Created: Moment{At: later(h.Created, h.Made)}, Verified: Moment{At: h.Proven}, Promoted: Moment{At: h.Promoted},
			Deactivated: Moment{At: h.Deactivated},
		}
		switch h.Stage {
		case plan.Pending:
			k.Promoted = successor
		case plan.Current:
			k.Superseded = successor
		}
		if (h.Stage == plan.Previous || !successor.At.IsZero()) && !frozen && h.Stage != plan.Retiring {
			f.retire(&k, h, p)
		}
		keys = append(keys, k)
	}
	if cur := r.In(plan.Current); cur != nil {
		for i := range keys {
			if keys[i].Stage == plan.Previous {
				keys[i].Superseded = Moment{At: cur.Promoted}
			}
		}
	}
	if next != nil {
		keys = append(keys, *next)
	}
	slices.SortStableFunc(keys, func(a, b Key) int { return a.Created.At.Compare(b.Created.At) })
	return keys
}

// retire plans the end of a key, as package plan will decide it if all goes
// well.
func (f forecast) retire(k *Key, h plan.Held, p plan.Policy) {
	off := h.Deactivated
	if off.IsZero() {
		off = h.Slot.Add(p.DeactivateAfter)
		if !h.Promise.IsZero() {
			off = later(off, h.Promise.Add(p.Grace))
		}
		off = later(off, k.Superseded.At)
		k.Deactivated = f.planned(off)
	}
	k.Deleted = f.planned(later(h.Slot.Add(p.DeleteAfter), off.Add(p.DeleteAfter-p.DeactivateAfter)))
}

// merge puts those that are gone, as far as the timeline reaches back, before
// those that are not.
func merge(past, held []Key, since time.Time) []Key {
	var out []Key
	for _, k := range past {
		if k.Deleted.At.After(since) {
			out = append(out, k)
		}
	}
	return slices.DeleteFunc(append(out, held...), func(k Key) bool { return k.Created.At.IsZero() })
}

// nextOf is the earliest planned change.
func nextOf(keys []Key, now time.Time) Next {
	var n Next
	for _, k := range keys {
		for _, m := range []struct {
			Moment
			what, short string
		}{
			{k.Created, "a new key is made", "new key"},
			{k.Promoted, "the new key takes over", "takes over"},
			{k.Deactivated, "the old key is switched off", "old key off"},
			{k.Deleted, "the old key is deleted", "old key gone"},
		} {
			if m.Planned && !m.At.Before(now) && (n.At.IsZero() || m.At.Before(n.At)) {
				n = Next{What: m.what, At: m.At, short: m.short}
			}
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
