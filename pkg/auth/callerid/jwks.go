package callerid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
)

// Limits on a key set.
const (
	maxKeys    = 64
	minRSA     = 2048 // bits
	maxRSA     = 8192
	maxKid     = 256
	coordinate = 32 // bytes of a P-256 coordinate and of an Ed25519 key
)

// jwk is a JSON Web Key (RFC 7517), as far as a public key for signatures goes.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	Alg    string   `json:"alg"`
	KeyOps []string `json:"key_ops"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
}

// verifyKey is a key and the one algorithm it is good for.
type verifyKey struct {
	alg string
	key crypto.PublicKey
}

// parseJWKS returns the keys of a JWK set that can verify signatures, by kid.
// Others are left out: of another kind, too weak, malformed, without kid, or
// with the kid of another key, because nobody could tell which is meant.
func parseJWKS(raw []byte) (map[string]verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("a JWK set of too many keys")
	}
	keys, times := map[string]verifyKey{}, map[string]int{}
	for _, raw := range set.Keys {
		var k jwk
		if json.Unmarshal(raw, &k) != nil || k.Kid == "" || len(k.Kid) > maxKid {
			continue
		}
		times[k.Kid]++
		if v, ok := k.public(); ok {
			keys[k.Kid] = v
		}
	}
	for kid, n := range times {
		if n > 1 {
			delete(keys, kid)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("a JWK set without a key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}

// public returns the key if it is meant for signatures and of a kind we take.
func (k jwk) public() (v verifyKey, ok bool) {
	if k.Use != "" && k.Use != "sig" || len(k.KeyOps) > 0 && !slices.Contains(k.KeyOps, "verify") {
		return v, false
	}
	switch {
	case k.Kty == "RSA":
		v.alg = "RS256"
		v.key, ok = k.rsa()
	case k.Kty == "EC" && k.Crv == "P-256":
		v.alg = "ES256"
		v.key, ok = k.ecdsa()
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		var x []byte
		x, ok = number(k.X, coordinate)
		v.alg, v.key = "EdDSA", ed25519.PublicKey(x)
	}
	return v, ok && (k.Alg == "" || k.Alg == v.alg)
}

func (k jwk) rsa() (*rsa.PublicKey, bool) {
	n, okN := number(k.N, 0)
	e, okE := number(k.E, 0)
	if !okN || !okE || len(n) > maxRSA/8 || len(e) > 4 {
		return nil, false
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	ok := pub.N.BitLen() >= minRSA && pub.N.Bit(0) == 1 && pub.E >= 3 && pub.E&1 == 1 && pub.E < 1<<31
	return pub, ok
}

func (k jwk) ecdsa() (*ecdsa.PublicKey, bool) {
	x, okX := number(k.X, coordinate)
	y, okY := number(k.Y, coordinate)
	if !okX || !okY {
		return nil, false
	}
	// Uncompressed point; a point that is not on the curve is refused.
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	return pub, err == nil
}

// number decodes base64url without padding; size 0 allows any.
func number(text string, size int) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return raw, err == nil && len(raw) > 0 && (size == 0 || len(raw) == size)
}
