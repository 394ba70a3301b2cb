// Package server is keyrot's HTTP API: routes, limits, and the order in which
// a request is judged (API key, token, parameters, permission, look-up).
//
// It decides nothing about keys and knows no AWS SDK: credentials come from a
// [Dispenser], which records each hand-out before it answers, and the state of
// affairs from a [Health].
package server

import (
	"context"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Dispenser hands out credentials. Give's error wraps rotate.ErrNotFound if
// the user is not known here and rotate.ErrNoKeyReady if the user has no key
// that works right now. It has put the hand-out on record when it returns.
type Dispenser interface {
	Give(ctx context.Context, user string, to rotate.Recipient) (rotate.Credential, error)
}

// Identities recognises callers that have no API key. A proof that is not
// accepted is auth.ErrBadKey; other errors mean that nobody could be asked.
type Identities interface {
	// OIDC judges a token of another issuer.
	OIDC(ctx context.Context, token string) (auth.Key, error)
	// AWS judges a signed GetCallerIdentity request.
	AWS(ctx context.Context, query string) (auth.Key, error)
}

// Health says how the users are. An error means that the store does not
// answer.
type Health interface {
	Health(ctx context.Context) (api.Health, error)
}
