package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

const (
	keySize  = 32
	saltSize = 32
	overhead = 12 + 16 // nonce and tag, as NewGCMWithRandomNonce arranges them
)

// Local seals with a key that this process holds. Every value has a data key
// of its own, derived with a random salt, so that the number of values sealed
// with one key has no practical bound (random GCM nonces alone would allow
// 2³², NIST SP 800-38D §8.3).
type Local struct {
	key []byte
	id  string
}

// NewLocal returns a Sealer over a key of 32 random bytes.
func NewLocal(key []byte) (*Local, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("encryption key has %d bytes, want %d", len(key), keySize)
	}
	id, err := hkdf.Key(sha256.New, key, nil, "keyrot key id", 8)
	if err != nil {
		return nil, fmt.Errorf("deriving the key id: %w", err)
	}
	return &Local{key: append([]byte(nil), key...), id: "local-" + hex.EncodeToString(id)}, nil
}

// KeyID implements [Sealer]. It is derived from the key one-way.
func (l *Local) KeyID() string { return l.id }

// Seal implements [Sealer].
func (l *Local) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	aead, err := l.aead(salt)
	if err != nil {
		return nil, err
	}
	h := append(header(l.id), salt...)
	out := make([]byte, len(h), len(h)+len(plaintext)+overhead)
	copy(out, h)
	return aead.Seal(out, nil, plaintext, bind(h, aad)), nil
}

// Open implements [Sealer].
func (l *Local) Open(_ context.Context, sealed, aad []byte) ([]byte, error) {
	id, rest, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	if id != l.id {
		return nil, fmt.Errorf("value is sealed with key %q, this is key %s: %w", id, l.id, ErrWrongKey)
	}
	if len(rest) < saltSize+overhead {
		return nil, fmt.Errorf("cut short: %w", ErrMalformed)
	}
	aead, err := l.aead(rest[:saltSize])
	if err != nil {
		return nil, err
	}
	head := sealed[:len(sealed)-len(rest)+saltSize]
	plaintext, err := aead.Open(nil, nil, rest[saltSize:], bind(head, aad))
	if err != nil {
		return nil, ErrWrongKey // the cause says no more than that
	}
	return plaintext, nil
}

// String keeps the key from being printed.
func (l *Local) String() string { return l.id }

// GoString keeps the key from being printed.
func (l *Local) GoString() string { return l.id }

// Format keeps the key from being printed by any verb.
func (l *Local) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(l.id)) }

func (l *Local) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, l.key, salt, "keyrot seal v1", keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving a data key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// bind joins the header, whose length its own content determines, and aad.
func bind(head, aad []byte) []byte {
	return append(append(make([]byte, 0, len(head)+len(aad)), head...), aad...)
}
