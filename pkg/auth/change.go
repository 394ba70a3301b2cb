package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// The actions of events about API keys. The event's Caller is the key's id.
const (
	ActionCreate = "api_key_create"
	ActionRotate = "api_key_rotate"
	ActionRevoke = "api_key_revoke"
)

// ErrNotRotatable means that an API key is expired, revoked, or was not made
// by us.
var ErrNotRotatable = errors.New("API key cannot be rotated")

const (
	usedSettings = "apikey-used/"
	usedEvery    = 10 * time.Minute // how exact a last use is; in a table each costs a write
	usedPatience = time.Second      // a request does not wait longer to note one
	maxFormer    = 4                // rotations whose overlaps may run side by side
)

// Rotate gives the key a new secret, which is returned and can be told by
// nobody again. The old one, and the tokens that were issued to it, are good
// for overlap longer; zero ends them now (in other processes within MaxAge).
func (s *Keys) Rotate(ctx context.Context, id string, overlap time.Duration) (string, Key, error) {
	k, version, err := s.load(ctx, id)
	if err != nil {
		return "", Key{}, err
	}
	now := s.now()
	switch {
	case overlap < 0:
		return "", Key{}, fmt.Errorf("overlap %s is negative", overlap)
	case len(id) != idLen || id == s.Adopted:
		return "", Key{}, fmt.Errorf("%s was chosen elsewhere: %w", id, ErrNotRotatable)
	case !k.Good(now):
		return "", Key{}, fmt.Errorf("%s is expired or revoked: %w", id, ErrNotRotatable)
	}
	var former []Former
	if overlap > 0 {
		former = append(former, Former{Hash: k.Hash, Until: now.Add(overlap).UTC()})
		for _, f := range k.Former {
			if now.Before(f.Until) && len(former) < maxFormer {
				former = append(former, f)
			}
		}
	}
	secret := secretOf(id)
	k.Hash, k.Former = hashOf(secret), former
	if err := s.change(ctx, ActionRotate, k, version); err != nil {
		return "", Key{}, err
	}
	return secret, k, nil
}

// change puts the change on record and then saves the key as it is now. A
// record without a result after it means that the outcome is unknown.
func (s *Keys) change(ctx context.Context, action string, k Key, version int64) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encoding API key %s: %w", k.ID, err)
	}
	now := s.now()
	e := rotate.Event{
		Time: now.UTC(), Action: action, Caller: k.ID, Actor: s.Actor,
		Reason: fmt.Sprintf("name %q, role %s, users %s", k.Name, k.Role, strings.Join(k.Users, ",")),
	}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	_, saved := s.Settings.SaveSetting(ctx, keySettings+k.ID, raw, version)
	if saved != nil { // it may have taken effect: the secret is shown only now
		if there, _, err := s.Settings.Setting(ctx, keySettings+k.ID); err == nil && bytes.Equal(there, raw) {
			saved = nil
		}
	}
	if saved == nil {
		e.Result = "ok"
		if action != ActionCreate {
			s.remember(k, now)
		}
	} else {
		saved = fmt.Errorf("saving API key %s: %w", k.ID, saved)
		e.Result = saved.Error()
	}
	e.Time = s.now().UTC()
	return errors.Join(saved, s.record(ctx, e))
}

func (s *Keys) record(ctx context.Context, e rotate.Event) error {
	if s.Audit == nil {
		return nil
	}
	if err := s.Audit.Append(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, err)
	}
	return nil
}

// note writes down that the key was used, at most once in usedEvery. What
// cannot be written is left out: it is for people to look at, and no reason
// to refuse a good key.
func (s *Keys) note(ctx context.Context, id string, now time.Time) {
	s.mu.Lock()
	last, _ := s.used.Get(id)
	d := now.Sub(last)
	if d >= 0 && d < usedEvery {
		s.mu.Unlock()
		return
	}
	s.used.Max = maxCached
	s.used.Put(id, now)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, usedPatience)
	defer cancel()
	_, version, err := s.Settings.Setting(ctx, usedSettings+id)
	if err != nil && !errors.Is(err, rotate.ErrNotFound) {
		return
	}
	_, _ = s.Settings.SaveSetting(ctx, usedSettings+id, []byte(now.UTC().Format(time.RFC3339)), version)
}

// LastUsed returns when the key was last accepted, to within 10 minutes; zero
// if never.
func (s *Keys) LastUsed(ctx context.Context, id string) (time.Time, error) {
	raw, _, err := s.Settings.Setting(ctx, usedSettings+id)
	if errors.Is(err, rotate.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the last use of API key %s: %w", id, err)
	}
	at, err := time.Parse(time.RFC3339, string(raw))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the last use of API key %s: %w", id, err)
	}
	return at, nil
}
