package auth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

const ringSetting = "token/signing-keys"

const (
	ringMaxAge   = time.Second      // how old a cached ring may be
	ringPeriod   = 24 * time.Hour   // a signing key is replaced at this age
	ringHeadway  = 10 * time.Second // a new key signs only after every replica has read it
	ringGrace    = time.Hour        // how much longer it signs if no other can be saved
	ringSize     = 2                // the newest, and the one whose tokens still live
	signingBytes = 32               // RFC 7518 §3.2: at least the hash's size
)

// signingKey is one HS256 key.
type signingKey struct {
	ID      string    `json:"kid"`
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// ring holds the signing keys, newest first. All replicas on one store share
// them: whoever finds the newest too old adds one, by compare-and-swap.
type ring struct {
	mu   sync.Mutex
	keys []signingKey
	at   time.Time // when the store was asked
	read time.Time // when it answered with keys
}

// signer returns the key to sign with now.
func (r *ring) signer(ctx context.Context, s Settings, now time.Time) (signingKey, error) {
	keys, err := r.current(ctx, s, now)
	if err != nil {
		return signingKey{}, err
	}
	for _, k := range keys {
		if now.Sub(k.Created) >= ringHeadway {
			return k, nil
		}
	}
	return keys[len(keys)-1], nil // the very first key: nobody waits for another
}

// current returns the keys, read at most ringMaxAge ago, at least one, the
// newest younger than ringPeriod.
func (r *ring) current(ctx context.Context, s Settings, now time.Time) ([]signingKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := now.Sub(r.at); len(r.keys) > 0 && age >= 0 && age < ringMaxAge {
		return r.keys, nil
	}
	keys, err := r.ask(ctx, s, now)
	if err != nil {
		// A store that fails must not keep callers from what was promised.
		if age := now.Sub(r.read); !errors.As(err, &unread{}) || len(r.keys) == 0 || age < 0 || age >= staleFor {
			return nil, err
		}
		r.at = now // ask again in a moment
		return r.keys, nil
	}
	r.keys, r.at, r.read = keys, now, now
	return keys, nil
}

// ask reads the keys, and adds one if the newest is too old.
func (r *ring) ask(ctx context.Context, s Settings, now time.Time) ([]signingKey, error) {
	if len(r.keys) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for range 3 { // losing the swap to another replica is followed by reading its result
		keys, version, err := readRing(ctx, s)
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 || now.Sub(keys[0].Created) >= ringPeriod {
			keys = append([]signingKey{newSigningKey(now)}, keys...)
			keys = keys[:min(len(keys), ringSize)]
			err = writeRing(ctx, s, keys, version)
			if errors.Is(err, rotate.ErrConflict) {
				continue
			}
			if err != nil && len(keys) > 1 && now.Sub(keys[1].Created) < ringPeriod+ringGrace {
				return keys[1:], nil // a full disk: the old one signs on
			}
			if err != nil {
				return nil, err
			}
		}
		return keys, nil
	}
	return nil, fmt.Errorf("sharing token signing keys: %w", rotate.ErrConflict)
}

func readRing(ctx context.Context, s Settings) ([]signingKey, int64, error) {
	raw, version, err := s.Setting(ctx, ringSetting)
	if errors.Is(err, rotate.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("loading token signing keys: %w", unread{err})
	}
	var keys []signingKey
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, 0, errors.New("decoding token signing keys: malformed") // the cause may quote a key
	}
	for _, k := range keys {
		if len(k.Secret) < signingBytes || k.ID == "" {
			return nil, 0, errors.New("decoding token signing keys: a key is too short")
		}
	}
	return keys, version, nil
}

func writeRing(ctx context.Context, s Settings, keys []signingKey, version int64) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("encoding token signing keys: %w", err)
	}
	if _, err := s.SaveSetting(ctx, ringSetting, raw, version); err != nil {
		return fmt.Errorf("saving token signing keys: %w", err)
	}
	return nil
}

func newSigningKey(now time.Time) signingKey {
	secret := make([]byte, signingBytes)
	_, _ = rand.Read(secret) // never fails, says its documentation
	return signingKey{ID: rand.Text()[:16], Secret: secret, Created: now.UTC()}
}
