package entry

import (
	"encoding/binary"
	"hash/fnv"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/salsa20"
)

const (
	keyLen   = 32
	nonceLen = 24
)

// Key is what a cache is sealed with, or named with: 256 bits that only its
// owner knows, or that are derived from what only he knows.
type Key [keyLen]byte

// String hides the key.
func (k Key) String() string { return "sealing key" }

// GoString does, too.
func (k Key) GoString() string { return k.String() }

// derive returns a key for one purpose: the beginning of XSalsa20's stream, of
// which nobody can tell anything who has not the key.
func (k *Key) derive(purpose [nonceLen]byte) (out Key) {
	salsa20.XORKeyStream(out[:], out[:], purpose[:], (*[keyLen]byte)(k))
	return out
}

func sealing() [nonceLen]byte { return purpose("keyrot get-key sealed v3") }

// purpose makes a nonce of a text of that length.
func purpose(text string) [nonceLen]byte { return [nonceLen]byte([]byte(text)) }

// Name returns the name of the cache for what is asked for. It tells nothing to
// who has no key; two that share a name are told apart by their content.
func (k *Key) Name(what string) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(what))
	own := k.derive(purpose("keyrot get-key name   v3"))
	name := own.derive([nonceLen]byte(h.Sum(make([]byte, 0, nonceLen))[:nonceLen]))
	const hex = "0123456789abcdef"
	var out [32]byte
	for i, b := range name[:16] {
		out[2*i], out[2*i+1] = hex[b>>4], hex[b&0xf]
	}
	return string(out[:])
}

// Seal returns the entry for what was asked for, sealed with NaCl's secretbox
// (XSalsa20 and Poly1305). The nonce must be random.
func (k *Key) Seal(nonce [nonceLen]byte, what string, e *Entry) []byte {
	plain := binary.BigEndian.AppendUint32(nil, uint32(len(what)))
	plain = append(append(plain, what...), e.Encode()...)
	own := k.derive(sealing())
	return secretbox.Seal(nonce[:], plain, &nonce, (*[keyLen]byte)(&own))
}

// Open reads what Seal returned into e. ok is false if it is anything else, was
// sealed with another key or for something else; then e is of no use.
func (k *Key) Open(sealed []byte, what string, e *Entry) (ok bool) {
	if len(sealed) < nonceLen {
		return false
	}
	nonce, own := [nonceLen]byte(sealed[:nonceLen]), k.derive(sealing())
	plain, ok := secretbox.Open(make([]byte, 0, len(sealed)), sealed[nonceLen:], &nonce, (*[keyLen]byte)(&own))
	if !ok || len(plain) < 4 {
		return false
	}
	n := uint64(binary.BigEndian.Uint32(plain))
	if plain = plain[4:]; uint64(len(plain)) < n || string(plain[:n]) != what {
		return false
	}
	return e.Decode(plain[n:]) == nil
}

// An API key that keyrot made is krk_, 12 characters of id, an underscore, 256
// random bits in 43 digits of base 62, and a checksum of 6.
const (
	prefix   = "krk_"
	secretAt = len(prefix) + 12 + 1
	digits   = 43
	whole    = secretAt + digits + 6
	base     = 62
)

// FromAPIKey returns the random bits that are in an API key. ok is false for a
// key that keyrot did not make: it may have fewer, so that a key has to be
// derived from it by a function that needs more than this package imports.
func FromAPIKey(key string) (k Key, ok bool) {
	if len(key) != whole || key[:len(prefix)] != prefix || key[secretAt-1] != '_' {
		return k, false
	}
	for _, c := range []byte(key[secretAt : secretAt+digits]) {
		var d uint
		switch {
		case c >= '0' && c <= '9':
			d = uint(c - '0')
		case c >= 'A' && c <= 'Z':
			d = uint(c-'A') + 10
		case c >= 'a' && c <= 'z':
			d = uint(c-'a') + 36
		default:
			return Key{}, false
		}
		for i := keyLen - 1; i >= 0; i-- {
			d += uint(k[i]) * base
			k[i], d = byte(d), d>>8
		}
		if d != 0 { // more than 256 bits
			return Key{}, false
		}
	}
	return k, true
}

// What names what is asked for: a user's credential from the server at the
// endpoint.
func What(endpoint, user string) string { return endpoint + "\x00" + user }
