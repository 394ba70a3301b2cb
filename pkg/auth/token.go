package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenTTL is how long a token lives.
const TokenTTL = 5 * time.Minute

const (
	tokenType    = "keyrot-access+jwt" // #nosec G101 -- RFC 8725 §3.11: never mistaken for another kind
	tokenMaxLen  = 1024                // ours have about 400 characters
	clockLeeway  = 30 * time.Second    // replicas' clocks: how far a token may seem to come from the future
	defIssuer    = "keyrot"
	defAudience  = "keyrot-api"
	signedWith   = "HS256"
	maxKidLength = 64
)

// Tokens issues and verifies the short-lived tokens (RFC 7519, RFC 8725) that
// an API key is exchanged for. Safe for concurrent use; must not be copied
// after first use.
type Tokens struct {
	Settings Settings
	Keys     *Keys  // where a token's API key is looked up
	Issuer   string // iss; default "keyrot"
	Audience string // aud; default "keyrot-api"
	// External returns the caller without an API key that a token of that
	// subject and mark was issued to, if it still is accepted by what accepted
	// it then. Default: there are none.
	External func(subject, mark string) (Key, bool)
	// Now is the clock. Default time.Now.
	Now func() time.Time

	ring ring
	seen seen
}

// Issue returns a token for the API key, and how long it lives.
func (t *Tokens) Issue(ctx context.Context, k Key) (string, time.Duration, error) {
	now := t.Time()
	signer, err := t.ring.signer(ctx, t.Settings, now)
	if err != nil {
		return "", 0, err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.issuer(),
			Subject:   k.ID,
			Audience:  jwt.ClaimStrings{t.audience()},
			ExpiresAt: jwt.NewNumericDate(now.Add(TokenTTL)),
			NotBefore: jwt.NewNumericDate(now.Add(-clockLeeway)),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        rand.Text(),
		},
		Mark: k.Mark(),
	})
	token.Header["typ"] = tokenType
	token.Header["kid"] = signer.ID
	signed, err := token.SignedString(signer.Secret)
	if err != nil {
		return "", 0, fmt.Errorf("signing token: %w", err)
	}
	return signed, TokenTTL, nil
}

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	// Mark names the secret of the API key that was exchanged for the token:
	// once that is replaced and its overlap over, the token is not good.
	Mark string `json:"mark,omitempty"`
}

// Verify returns the API key that the token stands for. Any token that is not
// good is [ErrBadToken]; other errors mean that the store could not be asked.
func (t *Tokens) Verify(ctx context.Context, token string) (Key, error) {
	if len(token) > tokenMaxLen {
		return Key{}, fmt.Errorf("%w: longer than %d characters", ErrBadToken, tokenMaxLen)
	}
	now := t.Time()
	keys, err := t.ring.current(ctx, t.Settings, now)
	if err != nil {
		return Key{}, err
	}
	digest := sha256.Sum256([]byte(token))
	seen, ok := t.seen.get(digest, keys, now)
	if !ok {
		if seen, err = t.parse(token, keys, now); err != nil {
			return Key{}, err
		}
		t.seen.put(digest, seen)
	}
	return t.caller(ctx, seen, now)
}

// parse checks everything about the token that its own text can show.
func (t *Tokens) parse(token string, keys []signingKey, now time.Time) (verified, error) {
	var c claims
	var v verified
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{signedWith}),
		jwt.WithIssuer(t.issuer()),
		jwt.WithAudience(t.audience()),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	)
	_, err := parser.ParseWithClaims(token, &c, func(tok *jwt.Token) (any, error) {
		kid, ok := tok.Header["kid"].(string)
		if !ok || len(kid) > maxKidLength || tok.Header["typ"] != tokenType {
			return nil, errors.New("header is not one of ours")
		}
		for _, k := range keys {
			if k.ID == kid {
				v.kid = kid
				return k.Secret, nil
			}
		}
		return nil, errors.New("unknown signing key")
	})
	if err != nil {
		return verified{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if c.IssuedAt == nil || c.IssuedAt.After(now.Add(clockLeeway)) {
		return verified{}, fmt.Errorf("%w: issued in the future", ErrBadToken)
	}
	v.subject, v.mark, v.from, v.exp = c.Subject, c.Mark, now, c.ExpiresAt.Time
	return v, nil
}

// caller looks the token's API key up, which may have been revoked since, or
// what stands in its place.
func (t *Tokens) caller(ctx context.Context, v verified, now time.Time) (Key, error) {
	if (Key{ID: v.subject}).External() {
		if t.External != nil {
			if k, ok := t.External(v.subject, v.mark); ok {
				return k, nil
			}
		}
		return Key{}, fmt.Errorf("%w: its identity is not configured, or not as it was", ErrBadToken)
	}
	k, err := t.Keys.ByID(ctx, v.subject)
	if errors.Is(err, ErrNoSuchKey) {
		return Key{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if err != nil {
		return Key{}, err
	}
	if !k.GoodFor(v.mark, now) {
		return Key{}, fmt.Errorf("%w: its API key has expired or was revoked or replaced", ErrBadToken)
	}
	return k, nil
}

func (t *Tokens) issuer() string {
	if t.Issuer != "" {
		return t.Issuer
	}
	return defIssuer
}

func (t *Tokens) audience() string {
	if t.Audience != "" {
		return t.Audience
	}
	return defAudience
}

// Time returns the time that tokens are judged by, which is the server's: its
// answers are dated by it. A nil Tokens has this machine's.
func (t *Tokens) Time() time.Time {
	if t != nil && t.Now != nil {
		return t.Now()
	}
	return time.Now()
}
