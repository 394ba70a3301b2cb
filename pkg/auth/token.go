package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenTTL is how long a token lives.
const TokenTTL = 5 * time.Minute

const (
	tokenType    = "keyrot-access+jwt" // RFC 8725 §3.11: never mistaken for another kind
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
	// Now is the clock. Default time.Now.
	Now func() time.Time

	ring ring
}

// Issue returns a token for the API key, and how long it lives.
func (t *Tokens) Issue(ctx context.Context, k Key) (string, time.Duration, error) {
	now := t.now()
	signer, err := t.ring.signer(ctx, t.Settings, now)
	if err != nil {
		return "", 0, err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer:    t.issuer(),
		Subject:   k.ID,
		Audience:  jwt.ClaimStrings{t.audience()},
		ExpiresAt: jwt.NewNumericDate(now.Add(TokenTTL)),
		NotBefore: jwt.NewNumericDate(now.Add(-clockLeeway)),
		IssuedAt:  jwt.NewNumericDate(now),
		ID:        rand.Text(),
	})
	token.Header["typ"] = tokenType
	token.Header["kid"] = signer.ID
	signed, err := token.SignedString(signer.Secret)
	if err != nil {
		return "", 0, fmt.Errorf("signing token: %w", err)
	}
	return signed, TokenTTL, nil
}

// Verify returns the API key that the token stands for. Any token that is not
// good is [ErrBadToken]; other errors mean that the store could not be asked.
func (t *Tokens) Verify(ctx context.Context, token string) (Key, error) {
	if len(token) > tokenMaxLen {
		return Key{}, fmt.Errorf("%w: longer than %d characters", ErrBadToken, tokenMaxLen)
	}
	now := t.now()
	var unavailable error // the store's fault, not the token's
	var claims jwt.RegisteredClaims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{signedWith}),
		jwt.WithIssuer(t.issuer()),
		jwt.WithAudience(t.audience()),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	)
	_, err := parser.ParseWithClaims(token, &claims, func(tok *jwt.Token) (any, error) {
		kid, ok := tok.Header["kid"].(string)
		if !ok || len(kid) > maxKidLength || tok.Header["typ"] != tokenType {
			return nil, errors.New("header is not one of ours")
		}
		k, found, err := t.ring.find(ctx, t.Settings, now, kid)
		if err != nil {
			unavailable = err
			return nil, err
		}
		if !found {
			return nil, errors.New("unknown signing key")
		}
		return k.Secret, nil
	})
	if unavailable != nil {
		return Key{}, unavailable
	}
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if claims.IssuedAt == nil || claims.IssuedAt.After(now.Add(clockLeeway)) {
		return Key{}, fmt.Errorf("%w: issued in the future", ErrBadToken)
	}
	return t.caller(ctx, claims.Subject, now)
}

// caller looks the token's API key up, which may have been revoked since.
func (t *Tokens) caller(ctx context.Context, id string, now time.Time) (Key, error) {
	k, err := t.Keys.ByID(ctx, id)
	if errors.Is(err, ErrNoSuchKey) {
		return Key{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if err != nil {
		return Key{}, err
	}
	if !k.Good(now) {
		return Key{}, fmt.Errorf("%w: its API key has expired or was revoked", ErrBadToken)
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

func (t *Tokens) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}
