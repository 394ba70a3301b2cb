package content

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"

	"github.com/keyrot/keyrot/internal/recent"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
)

// SealTogether returns the secrets of an entry in one envelope, for stores that
// pay by size: an envelope of KMS is seven times as long as a secret. kept (nil:
// none) may know that envelope already. seal.ErrKeyMissing if s is nil.
func SealTogether(ctx context.Context, s seal.Sealer, kept *Kept, e rotate.Entry) ([]byte, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	secrets := make(map[string]string, len(e.Secrets))
	for keyID, secret := range e.Secrets {
		secrets[keyID] = secret.Reveal()
	}
	plain, err := json.Marshal(secrets) // sorted by key id
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	aad := togetherAAD(e.Record)
	if b := kept.sealed(e.Record.User, aad, plain); b != nil {
		return b, nil
	}
	b, err := s.Seal(ctx, plain, aad)
	if err != nil {
		return nil, fmt.Errorf("sealing the secrets of %q: %w", e.Record.User, err)
	}
	kept.note(e.Record.User, aad, plain, b)
	return b, nil
}

// OpenTogether reads what SealTogether wrote for an entry with the record r.
func OpenTogether(ctx context.Context, s seal.Sealer, kept *Kept, r plan.Record, sealed []byte) (map[string]rotate.Secret, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	aad := togetherAAD(r)
	plain, err := s.Open(ctx, sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("opening the secrets of %q: %w", r.User, err)
	}
	defer clear(plain)
	var secrets map[string]string
	if err := json.Unmarshal(plain, &secrets); err != nil {
		return nil, fmt.Errorf("secrets of %q: %w", r.User, ErrCorrupt) // the cause may quote one
	}
	kept.note(r.User, aad, plain, sealed)
	opened := make(map[string]rotate.Secret, len(secrets))
	for keyID, secret := range secrets {
		opened[keyID] = rotate.NewSecret(secret)
	}
	return opened, nil
}

// togetherAAD binds the envelope to the user; which key each secret is of is
// sealed with it.
func togetherAAD(r plan.Record) []byte {
	return []byte(url.Values{aadARN: {r.ARN}, "id": {r.UserID}, "secrets": {"all"}, aadUser: {r.User}}.Encode())
}

// keptMax bounds the users of whom an envelope is kept (some 700 bytes each); the
// oldest makes room.
const keptMax = 1 << 15

// Kept remembers the envelopes that this process has sealed or opened last, one
// for each user, so that secrets that did not change are not sealed again. It
// holds no secret, but a digest under a key of its own. The zero value is
// ready; safe for concurrent use.
type Kept struct {
	mu   sync.Mutex
	key  []byte
	last recent.Map[string, envelope]
}

type envelope struct {
	sum    [sha256.Size]byte
	sealed []byte
}

// sealed returns the user's envelope if it is that of aad and plain, else nil.
func (k *Kept) sealed(user string, aad, plain []byte) []byte {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.last.Get(user); ok && e.sum == k.sum(aad, plain) {
		return e.sealed
	}
	return nil
}

// note remembers the user's envelope in place of an earlier one.
func (k *Kept) note(user string, aad, plain, sealed []byte) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.Max = keptMax // forgetting costs a call of the key service each, nothing else
	k.last.Put(user, envelope{k.sum(aad, plain), sealed})
}

// sum is the digest. The lock is held.
func (k *Kept) sum(aad, plain []byte) (out [sha256.Size]byte) {
	if k.key == nil {
		k.key = []byte(rand.Text())
	}
	h := hmac.New(sha256.New, k.key)
	_, _ = fmt.Fprintf(h, "%d:", len(aad)) // never fails
	_, _ = h.Write(aad)
	_, _ = h.Write(plain)
	return [sha256.Size]byte(h.Sum(nil))
}
