package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// minAdopted is the least length of an adopted key: 32 random characters of
// letters and digits hold 190 bits.
const minAdopted = 32

// Adopt sees to it that a key which somebody else chose, such as one that a
// secret store generated, has the record Adopted, with want's Name, Users,
// Role and Expires. The record is one like any other: it is listed and can be
// revoked, and stays revoked. A record that holds another key takes the new
// one. Several processes may do so at once.
func (s *Keys) Adopt(ctx context.Context, key string, want Key) error {
	now := s.now()
	if s.Adopted == "" {
		return errors.New("adopting an API key: no record is named")
	}
	if len(key) < minAdopted {
		return fmt.Errorf("adopting an API key: it has %d characters, want at least %d", len(key), minAdopted)
	}
	if _, ours := parseSecret(key); ours {
		return errors.New("adopting an API key: it looks like one of ours")
	}
	if err := want.Validate(now); err != nil {
		return fmt.Errorf("adopting an API key: %w", err)
	}
	for range 3 { // losing to another process is followed by reading its result
		k, version, err := s.load(ctx, s.Adopted)
		if errors.Is(err, ErrNoSuchKey) {
			k, err = Key{ID: s.Adopted, Created: now.UTC()}, nil
		}
		if err != nil {
			return err
		}
		if bytes.Equal(k.Hash, hashOf(key)) {
			return nil // an operator may have changed its users or revoked it
		}
		k.Hash, k.Name, k.Users, k.Role, k.Expires = hashOf(key), want.Name, want.Users, want.Role, want.Expires
		raw, err := json.Marshal(k)
		if err != nil {
			return fmt.Errorf("encoding API key: %w", err)
		}
		_, err = s.Settings.SaveSetting(ctx, keySettings+s.Adopted, raw, version)
		if errors.Is(err, rotate.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("saving API key: %w", err)
		}
		s.remember(k, now)
		return nil
	}
	return fmt.Errorf("adopting an API key: %w", rotate.ErrConflict)
}
