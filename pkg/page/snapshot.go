package page

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Bounds on how often what is behind the page is asked, however many look.
const (
	callersAge   = 5 * time.Second
	busy         = 20 // to make a snapshot may take one part in so many of the time between two
	maxStatusAge = 10 * time.Second
)

// shared is the latest snapshot, which all who look have in common.
type shared struct {
	mu        sync.Mutex
	latest    *snapshot
	until     time.Time // no other one is made before
	callers   []Caller
	callersAt time.Time
}

// snapshot is all users at an instant. Of each there is what lists and numbers
// need; its keys are worked out when it is shown.
type snapshot struct {
	Status
	entries []*rotate.Entry // ordered by user

	mu    sync.Mutex
	views map[string]*view
}

// maxViews bounds the views of a snapshot that are kept for others who ask for
// the same.
const maxViews = 64

// snapshot returns the latest one: a second old at most, unless the store
// cannot be asked that often or it takes long to make.
func (p *Page) snapshot(ctx context.Context) (*snapshot, error) {
	entries, at, err := p.Roster.All(ctx)
	if err != nil {
		return nil, err
	}
	b := &p.built
	b.mu.Lock()
	defer b.mu.Unlock()
	now := p.now()
	if s := b.latest; s != nil && (s.At.Equal(at) || !now.Before(s.At) && now.Before(b.until)) {
		return s, nil
	}
	began := time.Now()
	if err := p.History.Refresh(); err != nil {
		p.log().Warn("the status page shows no events", "err", err)
	}
	p.History.Note(entries)
	if age := now.Sub(b.callersAt); age < 0 || age >= callersAge {
		if b.callers, err = p.callers(ctx, now); err != nil {
			return nil, err
		}
		b.callersAt = now
	}
	s := &snapshot{Status: Status{At: at, Callers: p.seen(b.callers), Users: make([]User, 0, len(entries))}, entries: entries}
	for _, e := range entries {
		u := userOf(e, p.Policy(e.Record.User).WithDefaults(), at)
		u.Keys = nil
		s.Users = append(s.Users, u)
	}
	s.sum()
	b.latest, b.until = s, now.Add(min(maxStatusAge, busy*time.Since(began)))
	return s, nil
}

// seen notes when the callers came last.
func (p *Page) seen(callers []Caller) []Caller {
	out, seen := slices.Clone(callers), p.History.Seen()
	for i := range out {
		out[i].Last = seen[out[i].ID]
	}
	return out
}

// user is one of the users of s, whole.
func (p *Page) user(s *snapshot, name string) (User, bool) {
	i, ok := slices.BinarySearchFunc(s.entries, name, func(e *rotate.Entry, name string) int {
		return strings.Compare(e.Record.User, name)
	})
	if !ok {
		return User{}, false
	}
	u := userOf(s.entries[i], p.Policy(name).WithDefaults(), s.At)
	u.Keys = merge(p.History.Past(name), u.Keys, s.At.Add(-u.past))
	return u, true
}

// view returns what the key sees of the query's answer.
func (p *Page) view(ctx context.Context, key auth.Key, q Query) (*view, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	id := q.encode() + "\n" + strings.Join(key.Users, "\n")
	if key.SeesAll() {
		id = q.encode()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.views[id]; v != nil {
		return v, nil
	}
	v := p.newView(s, key, q)
	if s.views == nil {
		s.views = map[string]*view{}
	}
	if len(s.views) < maxViews {
		s.views[id] = v
	}
	return v, nil
}
