package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"path"
	"slices"
	"strings"
	"time"
)

// Role is what an API key may do. Each role includes those before it.
type Role string

// The roles, weakest first.
const (
	Viewer   Role = "viewer"   // see users, ages and events; no credential
	Reader   Role = "reader"   // be handed the credentials of its users
	Operator Role = "operator" // give orders: pause, rollback, burn
)

var roles = []Role{Viewer, Reader, Operator}

// Includes reports whether r may do what need may do.
func (r Role) Includes(need Role) bool {
	have, want := slices.Index(roles, r), slices.Index(roles, need)
	return have >= 0 && want >= 0 && have >= want
}

// Key is what is remembered about an API key. The key itself is not.
type Key struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`   // for people: who it was given to
	Hash    []byte    `json:"hash"`             // SHA-256 of the whole key
	Users   []string  `json:"users"`            // IAM users it may read; path.Match patterns
	Role    Role      `json:"role"`             // zero may do nothing
	Created time.Time `json:"created"`          //
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Revoked time.Time `json:"revoked,omitzero"` // zero: not revoked
	// Former are secrets that a rotation replaced, good until their Until.
	Former []Former `json:"former,omitempty"`
}

// Former is a replaced secret of a key.
type Former struct {
	Hash  []byte    `json:"hash"`
	Until time.Time `json:"until"`
}

// externalMark is in the id of every caller without an API key, and in the id
// of no API key.
const externalMark = ":"

// External reports whether the key stands for a caller that proves itself in
// another way than by an API key, such as "aws:arn:…" or "oidc:ci:…". Its
// Hash is not a secret's but names what it was accepted by.
func (k Key) External() bool { return strings.Contains(k.ID, externalMark) }

// accepts returns k as it is for somebody who presented a secret of that
// hash. The comparison takes the same time wherever it fails.
func (k Key) accepts(hash []byte, now time.Time) (Key, bool) {
	if !k.Good(now) {
		return Key{}, false
	}
	ok := subtle.ConstantTimeCompare(hash, k.Hash) == 1
	for _, f := range k.Former {
		if subtle.ConstantTimeCompare(hash, f.Hash) == 1 && now.Before(f.Until) {
			ok = true
		}
	}
	k.Hash = hash // tokens are bound to the secret that was presented
	return k, ok
}

// Mark names the secret that the key was presented with, in its tokens.
func (k Key) Mark() string { return hex.EncodeToString(k.Hash[:min(8, len(k.Hash))]) }

// GoodFor reports whether the key is accepted at now, and the secret of that
// mark still is one of its own. What a secret was exchanged for, such as a
// token or a session, ends when this is false.
func (k Key) GoodFor(mark string, now time.Time) bool {
	if !k.Good(now) {
		return false
	}
	return k.Mark() == mark || slices.ContainsFunc(k.Former, func(f Former) bool {
		return Key{Hash: f.Hash}.Mark() == mark && now.Before(f.Until)
	})
}

// Good reports whether the key is accepted at now.
func (k Key) Good(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// MayRead reports whether the key may be handed the user's credentials.
func (k Key) MayRead(user string) bool {
	return k.Role.Includes(Reader) && slices.ContainsFunc(k.Users, func(pattern string) bool {
		ok, err := path.Match(pattern, user)
		return err == nil && ok
	})
}

// Sees reports whether the key may look at the user: its keys' ages and
// events, no credential. A viewer that is bound to no users sees all.
func (k Key) Sees(user string) bool {
	return k.Role.Includes(Viewer) && (len(k.Users) == 0 || slices.ContainsFunc(k.Users, func(pattern string) bool {
		ok, err := path.Match(pattern, user)
		return err == nil && ok
	}))
}

// SeesAll reports whether no user is hidden from the key.
func (k Key) SeesAll() bool {
	return k.Role.Includes(Viewer) && (len(k.Users) == 0 || slices.Contains(k.Users, "*"))
}

// What names of IAM users consist of, and patterns besides; a name of ours may
// have an account before it.
const (
	nameChars    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-/"
	patternChars = `*?[]^\`
)

// Validate reports all that is wrong with a key somebody asks for at now.
func (k Key) Validate(now time.Time) error {
	var errs []error
	if !slices.Contains(roles, k.Role) {
		errs = append(errs, fmt.Errorf("role %q is not one of viewer, reader, operator", k.Role))
	}
	if len(k.Users) == 0 && k.Role != Viewer {
		errs = append(errs, errors.New("no users: name those that the key may read, or * for all"))
	}
	for _, u := range k.Users {
		if _, err := path.Match(u, ""); err != nil || u == "" {
			errs = append(errs, fmt.Errorf("user pattern %q is malformed", u))
		} else if strings.ContainsFunc(u, func(r rune) bool { return !strings.ContainsRune(nameChars+patternChars, r) }) {
			errs = append(errs, fmt.Errorf("user pattern %q matches no IAM user", u))
		}
	}
	if !k.Expires.IsZero() && !k.Expires.After(now) {
		errs = append(errs, fmt.Errorf("expiry %s is in the past", k.Expires.Format(time.RFC3339)))
	}
	return errors.Join(errs...)
}

// An API key reads krk_ID_SECRETSUM: 12 characters of id, 43 that hold 256
// random bits, 6 that hold the CRC-32 of all before them. The prefix and the
// checksum let secret scanners find a leaked key without asking us.
const (
	prefix    = "krk_"
	idLen     = 12
	secretLen = 43
	sumLen    = 6
	keyLen    = len(prefix) + idLen + 1 + secretLen + sumLen
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSecret returns a fresh API key and its id.
func newSecret() (key, id string) {
	id = strings.ToLower(rand.Text()[:idLen])
	return secretOf(id), id
}

// secretOf returns a fresh API key of that id.
func secretOf(id string) string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails, says its documentation
	body := prefix + id + "_" + encode(new(big.Int).SetBytes(raw), secretLen)
	return body + checksum(body)
}

// parseSecret returns the id inside a well-formed API key.
func parseSecret(key string) (id string, ok bool) {
	if len(key) != keyLen || !strings.HasPrefix(key, prefix) || key[len(prefix)+idLen] != '_' {
		return "", false
	}
	body, sum := key[:keyLen-sumLen], key[keyLen-sumLen:]
	if checksum(body) != sum {
		return "", false
	}
	return key[len(prefix) : len(prefix)+idLen], true
}

func checksum(body string) string {
	return encode(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), sumLen)
}

// encode writes n in base 62, padded on the left to width.
func encode(n *big.Int, width int) string {
	out := make([]byte, width)
	base, digit := big.NewInt(int64(len(base62))), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}

func hashOf(key string) []byte {
	h := sha256.Sum256([]byte(key))
	return h[:]
}
