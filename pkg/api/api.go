// Package api holds what travels between a keyrot server and its clients: the
// bodies, and the errors that survive the journey. A server turns an error
// into a status and a code with [Answer]; a client turns them back into the
// same error with [FromAnswer], so that errors.Is works on both sides.
//
// It imports the standard library only and knows neither HTTP handlers nor
// IAM.
package api

import (
	"fmt"
	"log/slog"
	"time"
)

// Paths of the routes.
const (
	PathToken     = "/generate-token" // #nosec G101 -- a path
	PathActiveKey = "/active-key"
	PathHealth    = "/healthz"
	PathReady     = "/readyz"
	PathLive      = "/livez"
	PathMetrics   = "/metrics"
	PathOpenAPI   = "/openapi.yaml"
)

// Header names and values that both sides use.
const (
	HeaderAPIKey    = "X-Api-Key" // #nosec G101 -- a header's name
	HeaderRequestID = "X-Request-Id"
	ParamUser       = "username"

	// HeaderAWSIdentity carries the query string of a presigned
	// GetCallerIdentity, in place of an API key.
	HeaderAWSIdentity = "X-Keyrot-Aws-Identity"
	// HeaderServerID is signed by it, beside the host and nothing else, so
	// that it is worth nothing to another server.
	HeaderServerID = "X-Keyrot-Server-Id"
	SignedHeaders  = "host;x-keyrot-server-id"
)

// Token is the answer to POST /generate-token.
type Token struct {
	Token     string `json:"token"`
	ExpiresIn int    `json:"expires_in"` // seconds
}

// Credential is the answer to GET /active-key, in the words of IAM's API. It
// is the one wire type that holds a secret, so it prints without it; only
// encoding/json shows all fields.
type Credential struct {
	AccessKeyID     string    `json:"AccessKeyId"`
	SecretAccessKey string    `json:"SecretAccessKey"` // #nosec G117 -- the point of the answer
	Expiration      time.Time `json:"Expiration"`      // the pair works until then
	CreateDate      time.Time `json:"CreateDate"`
	UserName        string    `json:"UserName"`
}

// Format implements fmt.Formatter for every verb: user and key id only.
func (c Credential) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "credential of %q (key %s)", c.UserName, ShortKey(c.AccessKeyID))
}

// LogValue implements slog.LogValuer: user and key id only.
func (c Credential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", c.UserName), slog.String("key", ShortKey(c.AccessKeyID)))
}

// Health is the answer to GET /healthz and /readyz. It holds numbers only,
// because both routes are open to everybody.
type Health struct {
	Status  string `json:"status"` // "ok", "overdue", "unrecorded", "starting"
	Users   int    `json:"users"`
	Serving int    `json:"serving"` // users with a key that can be handed out
	Overdue int    `json:"overdue"` // users whose rotation is late
	// Users that will be late at any time, because IAM or the workers allow fewer
	// rotations than the schedules ask for. That alone is no reason to be red.
	WillBeOverdue int `json:"will_be_overdue,omitempty"`
	// Hand-outs that are not in the audit log yet; equal ones count once.
	Unrecorded int `json:"unrecorded,omitempty"`
	// Publishers that fail for all users, as far as the process that answers
	// knows. That alone is no reason to be red: keys in use keep working.
	PublishersDown int `json:"publishers_down,omitempty"`
}

// ShortKey shortens an access key id for logs and messages: "AKIA…F2". What
// is too short for one (IAM's have at least 16 characters) stays as it is.
func ShortKey(id string) string {
	if len(id) < 16 {
		return id
	}
	return id[:4] + "…" + id[len(id)-2:]
}

// RefreshAt returns when to ask for the user's next credential: when a sixth
// of its life is left, which is when the successor of a key with the default
// schedule has just taken over; from then on ever more often, but not more
// than once in a second.
func RefreshAt(c Credential, now time.Time) time.Time {
	ahead := c.Expiration.Add(-c.Expiration.Sub(c.CreateDate) / 6)
	if ahead.After(now) && !c.CreateDate.IsZero() {
		return ahead
	}
	return now.Add(min(max(c.Expiration.Sub(now)/8, time.Second), 30*time.Second))
}
