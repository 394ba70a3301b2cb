package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
)

// withKey asks for an API key.
func (s *Server) withKey(r *http.Request) (auth.Key, error) {
	presented := r.Header.Values(api.HeaderAPIKey)
	if len(presented) != 1 {
		return auth.Key{}, api.ErrForbidden
	}
	return s.Keys.Check(r.Context(), presented[0])
}

// withProof asks for an API key or, if identities are configured, for one of
// the proofs that take its place; never for more than one.
func (s *Server) withProof(r *http.Request) (auth.Key, error) {
	signed := r.Header.Values(api.HeaderAWSIdentity)
	token, bearer := bearerOf(r)
	switch {
	case s.Identities == nil || len(r.Header.Values(api.HeaderAPIKey)) > 0:
		return s.withKey(r)
	case len(signed) == 1 && len(r.Header.Values("Authorization")) == 0:
		return s.Identities.AWS(r.Context(), signed[0])
	case len(signed) == 0 && bearer:
		return s.Identities.OIDC(r.Context(), token)
	}
	return auth.Key{}, api.ErrForbidden
}

// withToken asks for an API key and for a token that was issued to it, or for
// the token of a caller that has no API key.
func (s *Server) withToken(r *http.Request) (auth.Key, error) {
	if s.Identities != nil && len(r.Header.Values(api.HeaderAPIKey)) == 0 {
		return s.withIdentity(r)
	}
	key, err := s.withKey(r)
	if err != nil {
		return auth.Key{}, err
	}
	token, ok := bearerOf(r)
	if !ok {
		return auth.Key{}, api.ErrUnauthorized
	}
	return s.issuedTo(r, key, token)
}

// issuedTo returns the key if the token was issued to it.
func (s *Server) issuedTo(r *http.Request, key auth.Key, token string) (auth.Key, error) {
	owner, err := s.Tokens.Verify(r.Context(), token)
	if err != nil {
		return auth.Key{}, err
	}
	if owner.ID != key.ID {
		return auth.Key{}, api.ErrUnauthorized
	}
	return key, nil
}

// withIdentity asks for the token of a caller that has no API key. Whatever
// else comes, a good token of an API key included, is answered as if no API key
// had come, which is so.
func (s *Server) withIdentity(r *http.Request) (auth.Key, error) {
	token, ok := bearerOf(r)
	if !ok {
		return auth.Key{}, api.ErrForbidden
	}
	owner, err := s.Tokens.Verify(r.Context(), token)
	if errors.Is(err, auth.ErrBadToken) || err == nil && !owner.External() {
		return auth.Key{}, fmt.Errorf("%w: %w", api.ErrForbidden, cmp.Or(err, errors.New("a token without its API key")))
	}
	return owner, err
}

// bearerOf returns the bearer token of a request that has exactly one.
func bearerOf(r *http.Request) (token string, ok bool) {
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	return token, strings.EqualFold(scheme, "Bearer")
}

// withAuthorization asks for what the SDKs can send in Authorization, their
// only header, with or without "Bearer": an API key, or the token of a caller
// that has none. The token of an API key needs that key beside it, as
// everywhere (docs/adr/0016-the-container-route.md).
func (s *Server) withAuthorization(r *http.Request) (auth.Key, error) {
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return auth.Key{}, api.ErrUnauthorized
	}
	presented := header[0]
	if token, ok := bearerOf(r); ok {
		presented = token
	}
	token := strings.Count(presented, ".") == 2 // its three parts; no API key has dots
	switch beside := len(r.Header.Values(api.HeaderAPIKey)) > 0; {
	case token && beside:
		key, err := s.withKey(r)
		if err != nil {
			return auth.Key{}, err
		}
		return s.issuedTo(r, key, presented)
	case token:
		owner, err := s.Tokens.Verify(r.Context(), presented)
		if err == nil && !owner.External() {
			return auth.Key{}, fmt.Errorf("%w: a token without its API key", api.ErrUnauthorized)
		}
		return owner, err
	}
	key, err := s.Keys.Check(r.Context(), presented)
	if errors.Is(err, auth.ErrBadKey) {
		return auth.Key{}, api.ErrUnauthorized
	}
	return key, err
}
