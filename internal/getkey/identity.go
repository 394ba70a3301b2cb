package getkey

import (
	"context"
	"strings"
	"time"
)

// Kinds of proof of who asks.
const (
	ByAPIKey = "api-key"
	ByOIDC   = "oidc"
	ByAWS    = "aws"
)

// Identity is who asks, if no API key says so.
type Identity struct {
	Name   string // tells the caches of identities apart
	Secret string // what the cache is sealed with
	// Proof returns the header that proves it to the server.
	// now is the time by the server's clock.
	Proof func(ctx context.Context, now time.Time) (header, value string, err error)
}

// Kind returns how who asks is proved, which is what was asked for or what was
// given, and the API key if it is by that. There may be none.
func (o *Options) Kind(getenv func(string) string) (kind, key string, err error) {
	switch o.Identity {
	case ByOIDC:
		if o.OIDCTokenFile == "" {
			return "", "", Usagef("--identity oidc: --oidc-token-file is missing")
		}
		return ByOIDC, "", nil
	case ByAWS:
		return ByAWS, "", nil
	case ByAPIKey, "":
	default:
		return "", "", Usagef("--identity: %q is not one of api-key, oidc, aws", o.Identity)
	}
	key, err = APIKey(getenv("KEYROT_API_KEY"), o.APIKeyFile)
	switch {
	case err != nil:
		return "", "", err
	case o.Identity == "" && o.OIDCTokenFile != "" && key != "":
		return "", "", Usagef("both an API key and --oidc-token-file are given: say which with --identity")
	case o.Identity == "" && o.OIDCTokenFile != "":
		return ByOIDC, "", nil
	}
	return ByAPIKey, key, nil
}

// caller returns the API key, or what finds out who asks without one: only
// when it is needed, because an agent may make it unnecessary.
func (w *World) caller(o *Options) (key string, identify func(context.Context) (Identity, error), err error) {
	kind, key, err := o.Kind(w.Getenv)
	switch {
	case err != nil:
		return "", nil, err
	case kind == ByOIDC:
		return "", func(context.Context) (Identity, error) { return oidcIdentity(o.OIDCTokenFile) }, nil
	case kind == ByAWS && w.AWS == nil:
		return "", nil, Usagef(`--identity aws needs "keyrot get-key", which has the AWS SDK`)
	case kind == ByAWS:
		return "", w.AWS, nil
	}
	return key, nil, nil
}

// oidcIdentity is proved by the token in a file, which is read now: the
// platform replaces it. The cache is sealed with it, so that it can be read
// only by who has the token that it was written with.
func oidcIdentity(path string) (Identity, error) {
	raw, err := readFile(path)
	if err != nil {
		return Identity{}, Usagef("reading the OIDC token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n") {
		return Identity{}, Usagef("reading the OIDC token: %s does not hold one token", path)
	}
	return Identity{Name: ByOIDC + "\x00" + path, Secret: token, Proof: func(context.Context, time.Time) (string, string, error) {
		return "Authorization", "Bearer " + token, nil
	}}, nil
}
