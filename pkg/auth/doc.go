// Package auth says who calls and what they may read: API keys, and the
// short-lived tokens that an API key is exchanged for.
//
// A token is never believed by itself: its API key's record is looked up each
// time, so revoking the API key ends its tokens within [Keys.MaxAge].
//
// Callers without an API key are package callerid's; their tokens are issued
// here, and end with what accepted them ([Tokens.External]).
//
// It knows neither HTTP nor IAM.
package auth

import (
	"context"
	"errors"
)

// Errors that callers decide on.
var (
	// ErrBadKey means that an API key is malformed, unknown, expired or
	// revoked. Which one is not for the caller to know.
	ErrBadKey = errors.New("API key not accepted")
	// ErrBadToken means that a token is malformed, expired, meant for
	// somebody else, or that its API key is no longer good.
	ErrBadToken = errors.New("token not accepted")
	// ErrNoSuchKey means that there is no API key of that id.
	ErrNoSuchKey = errors.New("no such API key")
)

// Settings is where API keys and signing keys are kept. Its errors wrap
// rotate.ErrNotFound and rotate.ErrConflict; [rotate.Settings] satisfies it.
type Settings interface {
	// Setting returns the value and its version.
	Setting(ctx context.Context, name string) (value []byte, version int64, err error)
	// SaveSetting writes the value if the stored version still is version (0:
	// unset). A nil value deletes it.
	SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error)
	// SettingNames lists the names that begin with prefix, sorted.
	SettingNames(ctx context.Context, prefix string) ([]string, error)
}
