package callerid

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyrot/keyrot/pkg/auth"
)

// methods are the algorithms that tokens may be signed with: none that shares
// a secret, and each fits one kind of key only (jwks.go).
var methods = []string{"RS256", "ES256", "EdDSA"}

// subject is what may stand in our tokens and records: printable ASCII, at most
// as long as OpenID Connect Core §2 allows.
var subject = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// OIDC returns the caller that the token names. A token that is not accepted is
// [auth.ErrBadKey]; other errors mean that the issuer's keys could not be had.
func (v *Verifier) OIDC(ctx context.Context, token string) (auth.Key, error) {
	v.init()
	if len(token) > maxProof {
		return auth.Key{}, refused("a token longer than %d bytes", maxProof)
	}
	// What the token says of its issuer is believed for one thing: which
	// entries are asked. Each of them verifies all of it.
	claimed := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claimed); err != nil {
		return auth.Key{}, refused("%w", err)
	}
	err := refused("no identity has this issuer")
	for _, id := range v.Identities {
		if id.OIDC == nil || claimed["iss"] != id.OIDC.Issuer {
			continue
		}
		var caller auth.Key
		if caller, err = v.workload(ctx, id, token); !errors.Is(err, auth.ErrBadKey) {
			return caller, err
		}
	}
	return auth.Key{}, err
}

// workload holds the token against one entry.
func (v *Verifier) workload(ctx context.Context, id Identity, token string) (auth.Key, error) {
	var unavailable error
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods(methods),
		jwt.WithIssuer(id.OIDC.Issuer),
		jwt.WithAudience(id.OIDC.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(v.now),
		jwt.WithStrictDecoding(),
	)
	_, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if kid == "" || t.Header["crit"] != nil {
			return nil, errors.New("no kid, or an extension that must be understood")
		}
		key, err := v.sets[id.OIDC.source()].key(ctx, kid, t.Method.Alg())
		if !errors.Is(err, errNoKey) {
			unavailable = err
		}
		return key, err
	})
	switch {
	case unavailable != nil:
		return auth.Key{}, fmt.Errorf("reading the keys of identity %q: %w", id.Name, unavailable)
	case err != nil:
		return auth.Key{}, refused("identity %q: %w", id.Name, err)
	}
	sub, _ := claims["sub"].(string)
	if !subject.MatchString(sub) || !slices.ContainsFunc(id.OIDC.Subjects, func(p string) bool { return like(p, sub) }) {
		return auth.Key{}, refused("identity %q: another subject", id.Name)
	}
	for _, want := range id.OIDC.Claims {
		name, value, _ := strings.Cut(want, "=")
		if !claimIs(claims[name], value) {
			return auth.Key{}, refused("identity %q: claim %s is another", id.Name, name)
		}
	}
	return id.accept(kindOIDC + id.Name + ":" + sub)
}

// claimIs reports whether a claim is the value or a list that holds it.
func claimIs(claim any, value string) bool {
	switch c := claim.(type) {
	case string:
		return c == value
	case bool:
		return fmt.Sprint(c) == value
	case []any:
		return slices.ContainsFunc(c, func(item any) bool { return item == any(value) })
	}
	return false
}

// like matches as IAM's StringLike does: * is any text, ? any one byte.
func like(pattern, s string) bool {
	star, mark := -1, 0 // the last * and where what it stands for ends
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
