package auth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/recent"
	"github.com/keyrot/keyrot/pkg/rotate"
)

const keySettings = "apikey/"

// maxCached bounds the memory spent on cached records, some 500 bytes each; the
// oldest makes room.
const maxCached = 1 << 15

const (
	// staleFor is how long what the store had is believed while it fails: a
	// revocation, too, then takes up to that long to be seen.
	staleFor = 15 * time.Minute
	// patience bounds the wait for a store that hangs, if there is something
	// to believe instead.
	patience = 2 * time.Second
)

// Keys creates, checks and revokes API keys. Safe for concurrent use; must
// not be copied after first use.
type Keys struct {
	Settings Settings
	// Fixed are keys that are good without being stored. Only the sandbox has
	// them. See [FixedKey].
	Fixed []Key
	// Adopted is the id of the one record that a key which does not look like
	// ours is checked against. Default none. See [Keys.Adopt].
	Adopted string
	// MaxAge bounds how old a cached record may be, so how long another
	// process's revocation takes to be seen. Default 1 s.
	MaxAge time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Audit records what happens to API keys. Default: nothing is recorded.
	Audit rotate.Audit
	// Actor names who does it, in the audit log.
	Actor string

	mu    sync.Mutex
	cache recent.Map[string, cached]
	used  recent.Map[string, time.Time] // when a use was last written down
}

type cached struct {
	key  Key
	at   time.Time // when the store was asked
	read time.Time // when it answered, if it did not do so at at
}

// FixedKey makes the record of an API key that somebody else chose, which
// need not look like one of ours.
func FixedKey(id, key string, users []string, role Role) Key {
	return Key{ID: id, Hash: hashOf(key), Users: users, Role: role}
}

// Create makes an API key out of want's Name, Users, Role and Expires. The
// returned string is the key; nobody can tell it again.
func (s *Keys) Create(ctx context.Context, want Key) (string, Key, error) {
	now := s.now()
	if err := want.Validate(now); err != nil {
		return "", Key{}, err
	}
	secret, id := newSecret()
	k := Key{
		ID: id, Name: want.Name, Hash: hashOf(secret), Users: want.Users, Role: want.Role,
		Created: now.UTC(), Expires: want.Expires,
	}
	if err := s.change(ctx, ActionCreate, k, 0); err != nil {
		return "", Key{}, err
	}
	return secret, k, nil
}

// Check returns the record of the presented API key. Any key that is not good
// is [ErrBadKey]; other errors mean that the store could not be asked.
func (s *Keys) Check(ctx context.Context, presented string) (Key, error) {
	hash := hashOf(presented)
	for _, k := range s.Fixed {
		if subtle.ConstantTimeCompare(hash, k.Hash) == 1 {
			return k, nil // a record without a hash never equals one
		}
	}
	id, ok := parseSecret(presented)
	if !ok {
		id = s.Adopted
	}
	if id == "" {
		return Key{}, ErrBadKey
	}
	k, err := s.ByID(ctx, id)
	switch {
	case errors.Is(err, ErrNoSuchKey):
		return Key{}, ErrBadKey
	case err != nil:
		return Key{}, err
	}
	now := s.now()
	k, ok = k.accepts(hash, now)
	if !ok {
		return Key{}, ErrBadKey
	}
	s.note(ctx, id, now)
	return k, nil
}

// ByID returns the record of an API key, good or not, at most MaxAge old.
// [ErrNoSuchKey] if there is none.
func (s *Keys) ByID(ctx context.Context, id string) (Key, error) {
	for _, k := range s.Fixed {
		if k.ID == id {
			return k, nil
		}
	}
	now := s.now()
	s.mu.Lock()
	c, ok := s.cache.Get(id)
	s.mu.Unlock()
	// A clock that stepped back must not keep a record alive.
	if age := now.Sub(c.at); ok && age >= 0 && age < s.maxAge() {
		return c.key, nil
	}
	attempt := ctx
	if ok {
		var cancel context.CancelFunc
		attempt, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	k, _, err := s.load(attempt, id)
	switch {
	case err == nil:
		s.remember(k, now)
		return k, nil
	case errors.As(err, &unread{}):
		return s.stale(id, now, err)
	}
	return Key{}, err
}

// unread: the store could not be asked, or could not answer.
type unread struct{ error }

func (u unread) Unwrap() error { return u.error }

// stale returns a record that was read some minutes ago while the store fails,
// because what was promised is handed out then, too. After an attempt that
// failed, the next one is MaxAge later.
func (s *Keys) stale(id string, now time.Time, err error) (Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cache.Get(id)
	if !ok {
		return Key{}, err
	}
	if c.read.IsZero() {
		c.read = c.at
	}
	if age := now.Sub(c.read); age < 0 || age >= staleFor {
		s.cache.Drop(id)
		return Key{}, err
	}
	c.at = now
	s.cache.Put(id, c)
	return c.key, nil
}

// List returns all stored keys, ordered by id. One that cannot be read hides no
// other: it is in the error, beside those that can.
func (s *Keys) List(ctx context.Context) ([]Key, error) {
	names, err := s.Settings.SettingNames(ctx, keySettings)
	if err != nil {
		return nil, fmt.Errorf("listing API keys: %w", err)
	}
	var keys []Key
	var errs []error
	for _, name := range names {
		k, _, err := s.load(ctx, strings.TrimPrefix(name, keySettings))
		switch {
		case errors.Is(err, ErrNoSuchKey): // deleted meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			keys = append(keys, k)
		}
	}
	return keys, errors.Join(errs...)
}

// Revoke ends the key and its tokens: here at once, in other processes within
// MaxAge. Revoking twice is no error. [ErrNoSuchKey] if there is none.
func (s *Keys) Revoke(ctx context.Context, id string) error {
	k, version, err := s.load(ctx, id)
	if err != nil {
		return err
	}
	if !k.Revoked.IsZero() {
		return nil
	}
	k.Revoked, k.Former = s.now().UTC(), nil
	return s.change(ctx, ActionRevoke, k, version)
}

func (s *Keys) load(ctx context.Context, id string) (Key, int64, error) {
	raw, version, err := s.Settings.Setting(ctx, keySettings+id)
	if errors.Is(err, rotate.ErrNotFound) {
		return Key{}, 0, fmt.Errorf("%q: %w", id, ErrNoSuchKey)
	}
	if err != nil {
		return Key{}, 0, fmt.Errorf("loading API key %s: %w", id, unread{err})
	}
	var k Key
	if err := json.Unmarshal(raw, &k); err != nil {
		return Key{}, 0, fmt.Errorf("decoding API key %s: %w", id, err)
	}
	return k, version, nil
}

func (s *Keys) remember(k Key, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.Max = maxCached
	// A load that began before a revocation must not undo it.
	if old, ok := s.cache.Get(k.ID); ok && !old.key.Revoked.IsZero() {
		k.Revoked = old.key.Revoked
	}
	s.cache.Put(k.ID, cached{key: k, at: now})
}

func (s *Keys) maxAge() time.Duration {
	if s.MaxAge > 0 {
		return s.MaxAge
	}
	return time.Second
}

func (s *Keys) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
