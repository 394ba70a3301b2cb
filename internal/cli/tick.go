package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// tickStore reads all users once in each tick of a function: what the pass, the
// count of those that are late and the watchdog see is one listing, with what
// was saved through this store since. What others saved meanwhile is seen by the
// next tick. Load, Save and Due are the store's own.
type tickStore struct {
	rotate.Store

	mu  sync.Mutex
	all map[string]rotate.Entry // nil: not listed in this tick
}

// begin begins a tick.
func (s *tickStore) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// List implements [rotate.Store].
func (s *tickStore) List(ctx context.Context) ([]rotate.Entry, error) {
	s.mu.Lock()
	known := slices.Collect(maps.Values(s.all))
	listed := s.all != nil
	s.mu.Unlock()
	if listed {
		slices.SortFunc(known, func(a, b rotate.Entry) int { return strings.Compare(a.Record.User, b.Record.User) })
		return known, nil
	}
	entries, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]rotate.Entry, len(entries))
	for _, e := range entries {
		all[e.Record.User] = e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	return entries, nil
}

// Save implements [rotate.Store].
func (s *tickStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	v, err := s.Store.Save(ctx, e)
	if err != nil {
		return v, err
	}
	e.Secrets, e.Leave, e.Version = nil, "", v
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all != nil {
		e.Record = e.Record.Clone()
		s.all[e.Record.User] = e
	}
	return v, nil
}

// Remove implements [rotate.Store].
func (s *tickStore) Remove(ctx context.Context, user string, version int64) error {
	err := s.Store.Remove(ctx, user, version)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, user)
	}
	return err
}

// Changes implements [rotate.Store].
func (s *tickStore) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	s.mu.Lock()
	listed := s.all != nil
	s.mu.Unlock()
	if !listed {
		return s.Store.Changes(ctx, mark)
	}
	entries, err := s.List(ctx)
	return rotate.Changes{Entries: entries, Whole: true, Costly: true}, err
}
