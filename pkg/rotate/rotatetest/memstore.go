package rotatetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// The names of MemStore's operations, as Before and After see them.
const (
	OpLoad          = "load"
	OpSave          = "save"
	OpRemove        = "remove"
	OpList          = "list"
	OpChanges       = "changes"
	OpDue           = "due"
	OpAcquire       = "acquire"
	OpRelease       = "release"
	OpSetting       = "setting"
	OpSaveSetting   = "save setting"
	OpSettingNames  = "setting names"
	OpRecordHandout = "record handout"
	OpHolders       = "holders"
	OpWhoHas        = "who has"
)

// MemStore is a [rotate.Store], [rotate.Settings] and [rotate.Handouts] in
// memory. It starts no goroutine and reads no clock, so that it can be used
// under testing/synctest. The zero value is an empty store.
type MemStore struct {
	// Before and After, if set, are called around every operation with its
	// name and the user (or the setting's name; empty if there is neither).
	// An error of Before means that the operation took no effect; an error of
	// After is returned though it did. After is not called when the operation
	// itself failed. Both may be called concurrently and may call the store.
	Before, After func(op, user string) error

	mu       sync.Mutex
	version  int64 // the last one given out; never reused, not even after Remove
	removed  int64 // given out for the latest Remove
	entries  map[string]rotate.Entry
	index    index // of entries
	leases   map[string]lease
	settings map[string]setting
	handouts []rotate.Handout
}

type lease struct {
	owner string
	until time.Time
}

type setting struct {
	value   []byte
	version int64
}

// do runs one operation under the lock, between the hooks.
func (m *MemStore) do(ctx context.Context, op, user string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Before != nil {
		if err := m.Before(op, user); err != nil {
			return err
		}
	}
	m.mu.Lock()
	err := f()
	m.mu.Unlock()
	if err != nil {
		return &opError{op, user, err}
	}
	if m.After != nil {
		return m.After(op, user)
	}
	return nil
}

// opError says which operation failed, once somebody wants to know.
type opError struct {
	op, user string
	err      error
}

func (e *opError) Error() string { return fmt.Sprintf("%s %q: %v", e.op, e.user, e.err) }
func (e *opError) Unwrap() error { return e.err }

// Load implements [rotate.Store].
func (m *MemStore) Load(ctx context.Context, user string) (rotate.Entry, error) {
	var out rotate.Entry
	err := m.do(ctx, OpLoad, user, func() error {
		e, ok := m.entries[user]
		if !ok {
			return rotate.ErrNotFound
		}
		out = new(copier).entry(e)
		return nil
	})
	return orZero(out, err)
}

// Save implements [rotate.Store].
func (m *MemStore) Save(ctx context.Context, e rotate.Entry) (int64, error) {
	user := e.Record.User
	var version int64
	err := m.do(ctx, OpSave, user, func() error {
		if user == "" {
			return errors.New("record without a user")
		}
		if m.entries[user].Version != e.Version {
			return rotate.ErrConflict
		}
		e = new(copier).entry(e)
		e.Version = m.next()
		version = e.Version
		if l, ok := m.leases[user]; ok && l.owner == e.Leave {
			delete(m.leases, user)
		}
		e.Leave = ""
		if m.entries == nil {
			m.entries = make(map[string]rotate.Entry)
		}
		m.entries[user] = e
		m.index.set(user, e.Creates, e.Due)
		return nil
	})
	return orZero(version, err)
}

// Remove implements [rotate.Store].
func (m *MemStore) Remove(ctx context.Context, user string, version int64) error {
	return m.do(ctx, OpRemove, user, func() error {
		if e, ok := m.entries[user]; ok && e.Version != version {
			return rotate.ErrConflict
		}
		delete(m.entries, user)
		m.index.remove(user)
		m.removed = m.next()
		return nil
	})
}

// List implements [rotate.Store].
func (m *MemStore) List(ctx context.Context) ([]rotate.Entry, error) {
	var out []rotate.Entry
	err := m.do(ctx, OpList, "", func() error {
		out = slices.Grow(out, len(m.entries))
		c := &copier{keys: make([]plan.Held, 0, plan.Quota*len(m.entries))}
		for _, user := range m.index.users {
			e := m.entries[user]
			e.Secrets = nil
			out = append(out, c.entry(e))
		}
		return nil
	})
	return orZero(out, err)
}

// Changes implements [rotate.Store].
func (m *MemStore) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	var out rotate.Changes
	err := m.do(ctx, OpChanges, "", func() error {
		if m.removed > mark || mark > m.version {
			mark = 0
		}
		out = rotate.Changes{Whole: mark == 0, Mark: m.version}
		c := new(copier)
		for _, e := range m.entries {
			if e.Version > mark {
				e.Secrets = nil
				out.Entries = append(out.Entries, c.entry(e))
			}
		}
		return nil
	})
	return orZero(out, err)
}

// Look calls f with every record, ordered by user. It is for tests that only
// want to see: f must not change, keep or pass on what it is shown, of which
// nothing is copied, nor call the store. Before and After are not called.
func (m *MemStore) Look(f func(plan.Record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range m.index.users {
		f(m.entries[user].Record)
	}
}

// Due implements [rotate.Store].
func (m *MemStore) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	var out []string
	err := m.do(ctx, OpDue, "", func() error {
		out = m.index.until(t, creates, limit)
		return nil
	})
	return orZero(out, err)
}

// Acquire implements [rotate.Store].
func (m *MemStore) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	var version int64
	err := m.do(ctx, OpAcquire, user, func() error {
		if l, ok := m.leases[user]; ok && l.owner != owner && now.Before(l.until) {
			return rotate.ErrLeased
		}
		if m.leases == nil {
			m.leases = make(map[string]lease)
		}
		m.leases[user] = lease{owner, now.Add(ttl)}
		version = m.entries[user].Version
		return nil
	})
	return orZero(version, err)
}

// Release implements [rotate.Store].
func (m *MemStore) Release(ctx context.Context, user, owner string) error {
	return m.do(ctx, OpRelease, user, func() error {
		if m.leases[user].owner == owner {
			delete(m.leases, user)
		}
		return nil
	})
}

// Setting implements [rotate.Settings].
func (m *MemStore) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	var out setting
	err := m.do(ctx, OpSetting, name, func() error {
		s, ok := m.settings[name]
		if !ok {
			return rotate.ErrNotFound
		}
		out = setting{append([]byte{}, s.value...), s.version}
		return nil
	})
	out, err = orZero(out, err)
	return out.value, out.version, err
}

// SaveSetting implements [rotate.Settings].
func (m *MemStore) SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	var saved int64
	err := m.do(ctx, OpSaveSetting, name, func() error {
		was, ok := m.settings[name]
		if !ok && value == nil {
			return nil
		}
		if was.version != version {
			return rotate.ErrConflict
		}
		if value == nil {
			delete(m.settings, name)
			return nil
		}
		if m.settings == nil {
			m.settings = make(map[string]setting)
		}
		saved = m.next()
		m.settings[name] = setting{append([]byte{}, value...), saved}
		return nil
	})
	return orZero(saved, err)
}

// SettingNames implements [rotate.Settings].
func (m *MemStore) SettingNames(ctx context.Context, prefix string) ([]string, error) {
	var out []string
	err := m.do(ctx, OpSettingNames, prefix, func() error {
		for name := range m.settings {
			if strings.HasPrefix(name, prefix) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return nil
	})
	return orZero(out, err)
}

// next gives out a version. The lock is held.
func (m *MemStore) next() int64 {
	m.version++
	return m.version
}

// orZero keeps a result that must not be used from leaving with an error.
func orZero[T any](v T, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}
