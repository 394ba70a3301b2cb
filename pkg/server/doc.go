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
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Dispenser hands out credentials. Give's error wraps rotate.ErrNotFound if
// the user is not known here and rotate.ErrNoKeyReady if the user has no key
// that works right now. It has put the hand-out on record when it returns.
type Dispenser interface {
	Give(ctx context.Context, user string, to rotate.Recipient) (rotate.Credential, error)
}

// Health says how the users are. An error means that the store does not
// answer.
type Health interface {
	Health(ctx context.Context) (api.Health, error)
}
