// Package kmsseal seals values with data keys that AWS KMS makes and opens:
// the KMS key never leaves KMS, and each use of it is on record there together
// with the encryption context. It does not know what it seals.
//
// A data key is used again for values of the same context, within bounds on its
// age and uses, so that most values cost no call. It lives in memory only;
// withdrawing the KMS key takes effect within MaxAge. The bounds and their
// reasons are in docs/adr/0010-cached-data-keys.md.
package kmsseal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/internal/recent"
	"github.com/keyrot/keyrot/pkg/seal"
)

// API is the part of the SDK's client that this package calls.
type API struct {
	GenerateDataKey func(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Decrypt         func(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// NewAPI returns the API of the SDK configuration as it is.
func NewAPI(cfg aws.Config) API {
	cfg = awsanswer.Require(cfg)
	cfg.APIOptions = append(cfg.APIOptions, middleware.AddUserAgentKey("keyrot"))
	c := kms.NewFromConfig(cfg)
	return API{GenerateDataKey: c.GenerateDataKey, Decrypt: c.Decrypt}
}

// Sealer is seal.Sealer over KMS. Safe for concurrent use.
type Sealer struct {
	API API
	// Key is the KMS key: its ARN, id or alias.
	Key string
	// Context makes the encryption context out of a value's associated data.
	// Values with one context share data keys. Nil: no context.
	Context func(aad []byte) map[string]string
	// MaxAge bounds how long a data key is kept in memory; it seals for three
	// quarters of that. Default 20 min, which is as long as an access key lives
	// by the default schedule at most.
	MaxAge time.Duration
	// MaxUses bounds the values that one data key seals. Default 1000.
	MaxUses int
	// MaxKeys bounds the data keys kept in memory, for each direction; the
	// oldest makes room. Each context in use needs one or two, or it costs a call
	// each time. Default 65,536, some 100 MB if there were as many.
	MaxKeys int
	// Now is the clock. Default time.Now.
	Now func() time.Time

	mu      sync.Mutex
	sealing recent.Map[string, *dataKey] // by context
	opening recent.Map[string, *dataKey] // by context and wrapped key
}

var _ seal.Sealer = (*Sealer)(nil)

// dataKey is an opened data key.
type dataKey struct {
	aead    cipher.AEAD
	keyID   string
	wrapped []byte
	seals   time.Time // until when; what it has just sealed is looked at again
	until   time.Time
	uses    int
}

// The envelope is
//
//	2 | len(key id) | key id | len(wrapped key) (2) | wrapped key | nonce (12) | ciphertext | tag (16)
//
// sealed by AES-256-GCM under the data key. Everything before the nonce is
// authenticated together with the associated data. The key id is the KMS
// key's ARN and is there for people: KMS knows which key it needs.
const version = 2

const overhead = 12 + 16

// KeyID implements [seal.Sealer].
func (s *Sealer) KeyID() string { return s.Key }

// Seal implements [seal.Sealer].
func (s *Sealer) Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	k, err := s.sealingKey(ctx, s.context(aad))
	if err != nil {
		return nil, err
	}
	head := append([]byte{version, byte(len(k.keyID))}, k.keyID...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(k.wrapped)))
	head = append(head, k.wrapped...)
	out := make([]byte, len(head), len(head)+len(plaintext)+overhead)
	copy(out, head)
	return k.aead.Seal(out, nil, plaintext, slices.Concat(head, aad)), nil
}

// Open implements [seal.Sealer].
func (s *Sealer) Open(ctx context.Context, sealed, aad []byte) ([]byte, error) {
	keyID, wrapped, body, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	k, err := s.openingKey(ctx, keyID, wrapped, s.context(aad))
	if err != nil {
		return nil, err
	}
	head := sealed[:len(sealed)-len(body)]
	plaintext, err := k.aead.Open(nil, nil, body, slices.Concat(head, aad))
	if err != nil {
		return nil, seal.ErrWrongKey // the cause says no more than that
	}
	return plaintext, nil
}

func parse(sealed []byte) (keyID string, wrapped, body []byte, err error) {
	if len(sealed) < 2 || sealed[0] != version {
		return "", nil, nil, fmt.Errorf("not sealed by KMS: %w", seal.ErrMalformed)
	}
	rest := sealed[2:]
	n := int(sealed[1])
	if len(rest) < n+2 {
		return "", nil, nil, fmt.Errorf("cut short in the key id: %w", seal.ErrMalformed)
	}
	keyID, rest = string(rest[:n]), rest[n:]
	n = int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; len(rest) < n+overhead {
		return "", nil, nil, fmt.Errorf("cut short: %w", seal.ErrMalformed)
	}
	return keyID, rest[:n], rest[n:], nil
}

// sealingKey returns a data key for one more value of the context.
func (s *Sealer) sealingKey(ctx context.Context, about map[string]string) (*dataKey, error) {
	name, now := flat(about), s.now()
	s.mu.Lock()
	k, _ := s.sealing.Get(name)
	if k != nil && now.Before(k.seals) && k.uses < s.maxUses() {
		k.uses++
		s.mu.Unlock()
		return k, nil
	}
	s.mu.Unlock()
	out, err := s.API.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &s.Key, KeySpec: types.DataKeySpecAes256, EncryptionContext: about,
	})
	if err != nil {
		return nil, s.explain(ctx, "making a data key", err)
	}
	k = &dataKey{keyID: aws.ToString(out.KeyId), wrapped: out.CiphertextBlob, uses: 1}
	k.seals, k.until = now.Add(s.maxAge()/4*3), now.Add(s.maxAge())
	if len(k.keyID) > 0xff || len(k.wrapped) > 0xffff {
		return nil, errors.New("KMS answered with an oversized data key")
	}
	if k.aead, err = aead(out.Plaintext); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	s.sealing.Put(name, k)
	s.opening.Put(name+"\x00"+string(k.wrapped), k)
	return k, nil
}

func (s *Sealer) openingKey(ctx context.Context, keyID string, wrapped []byte, about map[string]string) (*dataKey, error) {
	name, now := flat(about)+"\x00"+string(wrapped), s.now()
	s.mu.Lock()
	k, _ := s.opening.Get(name)
	s.mu.Unlock()
	if k != nil && now.Before(k.until) {
		return k, nil
	}
	out, err := s.API.Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: wrapped, EncryptionContext: about,
		// Ours, not the envelope's: whoever can write there could name a key
		// of his own.
		KeyId: &s.Key,
	})
	if err != nil {
		return nil, s.explain(ctx, fmt.Sprintf("opening a data key of KMS key %q", keyID), err)
	}
	k = &dataKey{keyID: keyID, wrapped: slices.Clone(wrapped), until: now.Add(s.maxAge())}
	if k.aead, err = aead(out.Plaintext); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	s.opening.Put(name, k)
	return k, nil
}

// forget drops the keys whose time is over, so that they do not stay in memory
// until another takes their place: the oldest, as all have the same time. The
// lock is held.
func (s *Sealer) forget(now time.Time) {
	s.sealing.Max, s.opening.Max = s.maxKeys(), s.maxKeys()
	s.sealing.DropOldest(func(k *dataKey) bool { return !now.Before(k.seals) })
	s.opening.DropOldest(func(k *dataKey) bool { return !now.Before(k.until) })
}

// aead prepares the data key and wipes its bytes. What the cipher keeps cannot
// be wiped; it goes with the cipher.
func aead(plain []byte) (cipher.AEAD, error) {
	defer clear(plain)
	if len(plain) != 32 {
		return nil, fmt.Errorf("KMS answered with a data key of %d bytes, want 32", len(plain))
	}
	block, err := aes.NewCipher(plain)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// flat names a context: its pairs in order, each with its lengths.
func flat(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%d:%s%d:%s", len(k), k, len(m[k]), m[k])
	}
	return b.String()
}

func (s *Sealer) context(aad []byte) map[string]string {
	if s.Context == nil {
		return nil
	}
	return s.Context(aad)
}

func (s *Sealer) maxAge() time.Duration {
	if s.MaxAge > 0 {
		return s.MaxAge
	}
	return 20 * time.Minute
}

func (s *Sealer) maxUses() int {
	if s.MaxUses > 0 {
		return s.MaxUses
	}
	return 1000
}

func (s *Sealer) maxKeys() int {
	if s.MaxKeys > 0 {
		return s.MaxKeys
	}
	return 1 << 16
}

func (s *Sealer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
