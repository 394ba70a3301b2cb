// Package seal encrypts small values for storage: authenticated, bound to
// associated data, in an envelope that names its format and its key. It does
// not know what it seals.
package seal

import (
	"context"
	"errors"
	"fmt"
)

// Sentinels that decisions are made on.
var (
	// ErrWrongKey: the value was sealed with another key, for other associated
	// data, or was changed since.
	ErrWrongKey = errors.New("sealed with another key, or changed")
	// ErrKeyMissing: there is no key although something was sealed with it.
	ErrKeyMissing = errors.New("encryption key is missing")
	// ErrMalformed: the bytes are no envelope of a known version.
	ErrMalformed = errors.New("not a sealed value")
)

// Sealer encrypts and decrypts values. Implementations are safe for
// concurrent use and retain nothing they are given. aad is not secret and not
// stored; a value opens only with the aad it was sealed with.
type Sealer interface {
	// KeyID names the key that Seal uses. It is not secret.
	KeyID() string
	// Seal returns the envelope of plaintext.
	Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	// Open returns the plaintext of an envelope. ErrWrongKey, ErrMalformed.
	Open(ctx context.Context, sealed, aad []byte) ([]byte, error)
}

// Source finds the Sealer for a store when it is opened. recorded is the
// KeyID that the store's content is sealed with, empty while there is none.
// Only then may a Source make a new key: otherwise a lost key would be
// replaced by one that opens nothing. ErrKeyMissing, ErrWrongKey.
type Source func(ctx context.Context, recorded string) (Sealer, error)

// Fixed is the Source of a Sealer that exists already.
func Fixed(s Sealer) Source {
	return func(_ context.Context, recorded string) (Sealer, error) {
		return s, matches(s, recorded)
	}
}

func matches(s Sealer, recorded string) error {
	if recorded != "" && recorded != s.KeyID() {
		return fmt.Errorf("content is sealed with key %s, this is key %s: %w", recorded, s.KeyID(), ErrWrongKey)
	}
	return nil
}

// version is the envelope's first byte. Version 1 is
//
//	1 | len(key id) | key id | salt (32) | nonce (12) | ciphertext | tag (16)
//
// sealed by AES-256-GCM with the data key HKDF-SHA256(key, salt). Everything
// before the nonce is authenticated together with the associated data.
const version = 1

// header returns the authenticated beginning of an envelope up to the salt.
func header(keyID string) []byte {
	h := make([]byte, 0, 2+len(keyID)+saltSize)
	h = append(h, version, byte(len(keyID)))
	return append(h, keyID...)
}

// parse splits an envelope. rest is a part of sealed.
func parse(sealed []byte) (keyID string, rest []byte, err error) {
	switch {
	case len(sealed) < 2:
		return "", nil, fmt.Errorf("%d bytes: %w", len(sealed), ErrMalformed)
	case sealed[0] != version:
		return "", nil, fmt.Errorf("envelope version %d, this keyrot knows %d: %w", sealed[0], version, ErrMalformed)
	}
	end := 2 + int(sealed[1])
	if len(sealed) < end {
		return "", nil, fmt.Errorf("cut short in the key id: %w", ErrMalformed)
	}
	return string(sealed[2:end]), sealed[end:], nil
}
