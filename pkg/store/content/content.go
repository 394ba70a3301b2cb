// Package content is what all stores have in common: how an entry, a secret
// and a setting are written down. It knows nothing of where they are kept.
package content

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
)

// ErrCorrupt: what was read is not what a store writes.
var ErrCorrupt = errors.New("store is corrupt or not a keyrot store")

// DecodeRecord reads the record of user. ErrCorrupt if it is not one, or
// another user's.
func DecodeRecord(b []byte, user string) (plan.Record, error) {
	var r plan.Record
	if err := json.Unmarshal(b, &r); err != nil {
		return plan.Record{}, fmt.Errorf("record of %q: %w: %w", user, ErrCorrupt, err)
	}
	if r.User != user {
		return plan.Record{}, fmt.Errorf("record of %q is that of %q: %w", user, r.User, ErrCorrupt)
	}
	for _, k := range r.Keys {
		switch k.Stage {
		case plan.Pending, plan.Current, plan.Previous, plan.Retiring:
		default: // damaged, or of a later version: to act on the rest could take away the key that is served
			return plan.Record{}, fmt.Errorf("record of %q: a key in stage %q: %w", user, k.Stage, ErrCorrupt)
		}
		if k.ID == "" {
			return plan.Record{}, fmt.Errorf("record of %q: a key without an id: %w", user, ErrCorrupt)
		}
	}
	return r, nil
}

// SealSecrets returns the secrets of an entry as a JSON object: access key id
// to sealed secret. seal.ErrKeyMissing if s is nil.
func SealSecrets(ctx context.Context, s seal.Sealer, e rotate.Entry) ([]byte, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	sealed := make(map[string][]byte, len(e.Secrets))
	for keyID, secret := range e.Secrets {
		b, err := s.Seal(ctx, []byte(secret.Reveal()), secretAAD(e.Record, keyID))
		if err != nil {
			return nil, fmt.Errorf("sealing the secret of %s: %w", keyID, err)
		}
		sealed[keyID] = b
	}
	return json.Marshal(sealed)
}

// SealEach is SealSecrets for a process that saves entries again and again: what
// kept knows is not sealed anew. kept must be for this function only.
func SealEach(ctx context.Context, s seal.Sealer, kept *Kept, e rotate.Entry) ([]byte, error) {
	ids := make([]string, 0, 4) // most users have two
	for id := range e.Secrets {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	plain := make([]byte, 0, 256)
	defer func() { clear(plain[:cap(plain)]) }()
	for _, id := range ids {
		for _, text := range []string{id, e.Secrets[id].Reveal()} {
			plain = append(binary.AppendUvarint(plain, uint64(len(text))), text...)
		}
	}
	// Everything that secretAAD is made of, beside the key ids and the user.
	aad := append([]byte(e.Record.ARN+" "), e.Record.UserID...)
	if b := kept.sealed(e.Record.User, aad, plain); b != nil {
		return b, nil
	}
	b, err := SealSecrets(ctx, s, e)
	if err == nil {
		kept.note(e.Record.User, aad, plain, b)
	}
	return b, err
}

// OpenSecrets reads what SealSecrets wrote for an entry with the record r.
func OpenSecrets(ctx context.Context, s seal.Sealer, r plan.Record, secrets []byte) (map[string]rotate.Secret, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	var sealed map[string][]byte
	if err := json.Unmarshal(secrets, &sealed); err != nil {
		return nil, fmt.Errorf("secrets: %w: %w", ErrCorrupt, err)
	}
	opened := make(map[string]rotate.Secret, len(sealed))
	for keyID, b := range sealed {
		secret, err := s.Open(ctx, b, secretAAD(r, keyID))
		if err != nil {
			return nil, fmt.Errorf("opening the secret of %s: %w", keyID, err)
		}
		opened[keyID] = rotate.NewSecret(string(secret))
	}
	return opened, nil
}

// SealSetting seals a setting's value. seal.ErrKeyMissing if s is nil.
func SealSetting(ctx context.Context, s seal.Sealer, name string, value []byte) ([]byte, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	return s.Seal(ctx, value, settingAAD(name))
}

// OpenSetting returns the value, which is never nil: set to nothing is not
// unset.
func OpenSetting(ctx context.Context, s seal.Sealer, name string, sealed []byte) ([]byte, error) {
	if s == nil {
		return nil, seal.ErrKeyMissing
	}
	value, err := s.Open(ctx, sealed, settingAAD(name))
	if err == nil && value == nil {
		value = []byte{}
	}
	return value, err
}

// The names inside associated data.
const (
	aadARN     = "arn"
	aadUser    = "user"
	aadSetting = "setting"
)

// secretAAD binds a sealed secret to its place, so that none can be moved to
// another user or key. It is a URL query, so that [EncryptionContext] can take
// it apart.
func secretAAD(r plan.Record, keyID string) []byte {
	return []byte(url.Values{aadARN: {r.ARN}, "id": {r.UserID}, "key": {keyID}, aadUser: {r.User}}.Encode())
}

func settingAAD(name string) []byte { return []byte(url.Values{aadSetting: {name}}.Encode()) }

// EncryptionContext says for whom a value is sealed, as a key service records
// and compares it: the user's ARN (its name if that is unknown), or that it
// is one of keyrot's own settings. Values of one user have the same context.
func EncryptionContext(aad []byte) map[string]string {
	q, err := url.ParseQuery(string(aad))
	switch {
	case err == nil && q.Get(aadARN) != "":
		return map[string]string{"keyrot:user": q.Get(aadARN)}
	case err == nil && q.Get(aadUser) != "":
		return map[string]string{"keyrot:user": q.Get(aadUser)}
	}
	return map[string]string{"keyrot:settings": "true"}
}

// Nanos and Time keep a time as an integer that sorts; times that Unix
// nanoseconds cannot express (before 1970, after 2262) become the nearest one.
// The zero time is 0.
func Nanos(t time.Time) int64 {
	switch {
	case t.Unix() <= 0:
		return 0
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Time is the inverse of Nanos.
func Time(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
