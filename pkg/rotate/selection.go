package rotate

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A selection that takes long to read is read less often, so that no more than
// a thirtieth of the time is spent on it.
const (
	readingShare = 30
	maxReselect  = 15 * time.Minute
)

// choose reads the selection and narrows it to names; of several passes over names
// in a row, the first one reads it. With ErrNoUser, for names that IAM does not
// know, it returns the others.
func (r *Rotator) choose(ctx context.Context, names []string) ([]User, error) {
	if all, recalled := r.selected.list(); len(names) > 0 && !recalled && r.selected.fresh(r.now()) {
		return r.narrow(ctx, all, names)
	}
	began := mono()
	all, err := r.Select(ctx)
	if err != nil && (len(all) == 0 || !errors.Is(err, ErrNoUser)) {
		return nil, fmt.Errorf("reading the selection of users: %w", err)
	}
	if err != nil {
		err = fmt.Errorf("reading the selection of users: %w", err)
	}
	if len(all) == 0 {
		return nil, ErrNoUsers
	}
	if !r.Clock.Settle(ctx) { // the answer that brought the users told it, as a rule
		return nil, ErrNoTime
	}
	r.selected.set(all, r.now(), r.now().Add(max(r.Reselect, min(maxReselect, readingShare*mono().Sub(began)))))
	slices.SortFunc(all, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	if len(names) == 0 || err != nil {
		return all, err
	}
	return r.narrow(ctx, all, names)
}

func (r *Rotator) narrow(ctx context.Context, all []User, names []string) ([]User, error) {
	var some []User
	for _, n := range names {
		i := slices.IndexFunc(all, func(u User) bool { return u.Name == n })
		if i < 0 { // it may be the name from before a renaming
			if e, err := r.Store.Load(ctx, n); err == nil {
				i = slices.IndexFunc(all, func(u User) bool { return e.Record.Is(u.ID) })
			}
		}
		if i < 0 {
			return nil, fmt.Errorf("user %q: %w", n, ErrNotSelected)
		}
		some = append(some, all[i])
	}
	return some, nil
}

// selection remembers the last selection that could be read.
type selection struct {
	mu       sync.RWMutex
	users    map[string]User      // nil: never read
	ids      map[string]string    // their names by unique id
	since    map[string]time.Time // when each was found first
	recalled bool                 // another process read it; names may have changed since
	until    time.Time            // when to read it again
	saved    keptSelection        // as it was last kept or recalled
	over     int64                // the version of that
}

func (s *selection) set(us []User, now, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(us, now)
	s.until, s.recalled = until, false
}

func (s *selection) put(us []User, now time.Time) {
	since := s.since
	s.users, s.ids, s.since = make(map[string]User, len(us)), make(map[string]string, len(us)), make(map[string]time.Time, len(us))
	for _, u := range us {
		s.users[u.Name] = u
		s.ids[u.ID] = u.Name
		s.since[u.Name] = now
		if at, seen := since[u.Name]; seen {
			s.since[u.Name] = at
		}
	}
}

// Unenrolled counts the selected users that are in none of the stored entries,
// though they have been selected for longer than a key may be late. Those whom
// enrolment refused are not waiting for it.
func (r *Rotator) Unenrolled(stored []*Entry) (n int) {
	names, ids := make(map[string]bool, len(stored)), make(map[string]bool, len(stored))
	for _, e := range stored {
		names[e.Record.User], ids[e.Record.UserID] = true, true
	}
	r.selected.mu.RLock()
	defer r.selected.mu.RUnlock()
	for name, u := range r.selected.users {
		if names[name] || u.ID != "" && ids[u.ID] {
			continue
		}
		if _, refused := r.refused.Load(name); !refused && r.now().Sub(r.selected.since[name]) > r.overlap(name) {
			n++
		}
	}
	return n
}

func (r *Rotator) overlap(user string) time.Duration {
	return r.schedule(user).WithDefaults().Overlap()
}

// known reports whether a selection could be read yet.
func (s *selection) known() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.users != nil
}

// fresh reports whether the selection need not be read at now.
func (s *selection) fresh(now time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return now.Before(s.until)
}

// includes reports whether the user is selected, by either.
func (s *selection) includes(name, id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.users[name]
	return ok || id != "" && s.ids[id] != ""
}

// nameOf returns the name of the selected user with the unique id, or "" if it
// is not known for sure.
func (s *selection) nameOf(id string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id == "" || s.recalled {
		return ""
	}
	return s.ids[id]
}

// list returns the users, ordered by name. Those of a selection that was
// recalled have nothing but name and id, and may be gone.
func (s *selection) list() (users []User, recalled bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.users), func(a, b User) int { return cmp.Compare(a.Name, b.Name) }), s.recalled
}

// How long a selection that was kept is good for other processes, and when it is
// kept again though nothing has changed.
const (
	selectionName  = "selection"
	selectionKept  = time.Hour
	selectionAgain = 15 * time.Minute
	maxKept        = 256 << 10 // bytes; a table's items have 400 kB at most
)

// keptSelection is a selection as other processes find it. Names are no secret,
// but they decide who is rotated: settings are sealed.
type keptSelection struct {
	Rule  string    `json:"rule"`
	At    time.Time `json:"at"`
	Users []string  `json:"users"` // name and unique id, with a space between
}

// recall reports whether a selection is known, to this process or from another
// that selected by the same rule not long ago.
func (r *Rotator) recall(ctx context.Context) bool {
	if r.selected.known() || r.Settings == nil {
		return r.selected.known() && r.Clock.Settle(ctx)
	}
	reading, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	raw, version, err := r.Settings.Setting(reading, selectionName)
	if err != nil {
		if !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
			r.Log.Warn("the selection of an earlier process cannot be read", "err", err)
		}
		return false
	}
	var k keptSelection
	if err := unpack(raw, &k); err != nil {
		r.Log.Warn("the selection of an earlier process cannot be read", "err", err)
		return false
	}
	if !r.Clock.Settle(ctx) {
		return false
	}
	s := &r.selected
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = version
	if age := r.now().Sub(k.At); k.Rule != r.Rule || age > selectionKept || age < -time.Minute || len(k.Users) == 0 {
		return s.users != nil
	}
	if s.users == nil {
		users := make([]User, len(k.Users))
		for i, u := range k.Users {
			users[i].Name, users[i].ID, _ = strings.Cut(u, " ")
		}
		s.put(users, r.now())
		s.saved, s.recalled = k, true
	}
	return true
}

// keep lets other processes begin with the selection. That it cannot be kept is
// no failure: they will have to read it.
func (r *Rotator) keep(ctx context.Context) {
	if r.Settings == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	k := keptSelection{Rule: r.Rule, At: r.now()}
	users, _ := r.selected.list()
	for _, u := range users {
		k.Users = append(k.Users, u.Name+" "+u.ID)
	}
	s := &r.selected
	s.mu.RLock()
	saved, over := s.saved, s.over
	s.mu.RUnlock()
	if saved.Rule == k.Rule && k.At.Sub(saved.At) < selectionAgain && slices.Equal(saved.Users, k.Users) {
		return
	}
	raw, err := pack(k)
	if err != nil || len(raw) > maxKept {
		r.Log.Warn("the selection is not kept for other processes", "err", err, "bytes", len(raw))
		return
	}
	version, err := r.Settings.SaveSetting(ctx, selectionName, raw, over)
	if errors.Is(err, ErrConflict) { // another process keeps it; the next time it is this one's turn
		_, version, err = r.Settings.Setting(ctx, selectionName)
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
			r.Log.Warn("the selection is not kept for other processes", "err", err)
		}
		return
	}
	s.mu.Lock()
	s.saved, s.over = k, version
	s.mu.Unlock()
}

func pack(k keptSelection) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	err = errors.Join(json.NewEncoder(w).Encode(k), w.Close())
	return b.Bytes(), err
}

func unpack(raw []byte, k *keptSelection) error {
	return json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), 64*maxKept)).Decode(k)
}
