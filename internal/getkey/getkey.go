// Package getkey is the command get-key: where a credential comes from (the
// local agent, the sealed cache, the server), the formats it is printed in,
// and the profile that makes an SDK ask for it.
//
// It is linked into keyrot and into the thin keyrot-get, whose whole-process
// time is felt before API calls: no SDK, no configuration library, nothing
// heavy may be imported here.
package getkey

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// ErrUsage means that what was asked for cannot work; ErrNoAPIKey that there is
// no API key to ask with.
var (
	ErrUsage    = errors.New("bad input")
	ErrNoAPIKey = errors.New("no API key is given")
)

// usageError is an error that also is [ErrUsage], which its text does not
// repeat.
type usageError struct{ error }

func (u usageError) Unwrap() []error { return []error{u.error, ErrUsage} }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

const (
	httpTimeout = 15 * time.Second
	agentWait   = 2 * time.Second // for an agent that does not answer
	aheadWait   = time.Second     // for a server, while what is cached works
	lockWait    = 5 * time.Second // for another process that fetches the same
)

// Source is where credentials come from.
type Source struct {
	Endpoint       string // URL of the server
	APIKey         string
	CAFile         string // PEM file; "": the system's certificates
	AllowPlainHTTP bool
	Socket         string           // the agent's; "": none
	CacheDir       string           // "": no cache
	Now            func() time.Time // nil: time.Now
}

// Credential returns the user's active key: from the agent if one runs here,
// from the cache while enough of its life is left, otherwise from the server.
// If that fails, what is cached is used until its Expiration. One of several
// processes asks the server, the others wait for what it caches.
func (s Source) Credential(ctx context.Context, user string) (api.Credential, error) {
	if c, ok := s.fromAgent(ctx, user); ok {
		return c, nil
	}
	if s.APIKey == "" {
		return api.Credential{}, ErrNoAPIKey
	}
	if s.CacheDir == "" {
		e, err := s.fetch(ctx, user, entry{})
		return e.Credential, err
	}
	k, err := s.cacheFor(user)
	if err != nil {
		return api.Credential{}, err
	}
	e := k.load()
	if e.fresh(s.now()) {
		return e.Credential, nil
	}
	wait := lockWait
	if e.valid(s.now()) {
		wait = 0 // another process fetches: what is there will do
	}
	unlock, locked := k.lock(ctx, wait)
	defer unlock()
	if now := k.load(); now.valid(s.now()) { // fetched meanwhile
		e = now
	}
	if e.fresh(s.now()) || e.valid(s.now()) && !locked {
		return e.Credential, nil
	}
	return s.renew(ctx, user, k, e)
}

// renew asks the server and caches the answer.
func (s Source) renew(ctx context.Context, user string, k *cache, e entry) (api.Credential, error) {
	asking := ctx
	if e.valid(s.now()) { // a server that hangs must not hold up what works without it
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, aheadWait)
		defer cancel()
	}
	fetched, err := s.fetch(asking, user, e)
	switch {
	case err == nil:
		k.save(fetched)
		return fetched.Credential, nil
	case Refused(err):
		k.clear()
		return api.Credential{}, err
	case e.valid(s.now()):
		e.Next = client.RefreshAt(e.Credential, s.now())
		k.save(e)
		return e.Credential, nil
	}
	return api.Credential{}, err
}

// Refused reports whether the server withdrew the permission, so that what
// was given before must not be used any more.
func Refused(err error) bool {
	return errors.Is(err, api.ErrForbidden) || errors.Is(err, api.ErrUnauthorized) || errors.Is(err, api.ErrNotAllowed)
}

// fetch asks the server for what has changed since e.
func (s Source) fetch(ctx context.Context, user string, e entry) (entry, error) {
	h, err := HTTPClient(s.CAFile)
	if err != nil {
		return entry{}, err
	}
	c := &client.Client{Endpoint: s.Endpoint, APIKey: s.APIKey, HTTP: h, AllowPlainHTTP: s.AllowPlainHTTP, Now: s.Now}
	c.UseToken(e.Token, e.TokenUntil)
	tag := e.Tag
	if !e.valid(s.now()) {
		tag = ""
	}
	cred, newTag, err := c.CredentialIfChanged(ctx, user, tag)
	if errors.Is(err, client.ErrNotModified) {
		cred, newTag, err = e.Credential, e.Tag, nil
	}
	if err != nil {
		return entry{}, err
	}
	e = entry{Credential: cred, Tag: newTag, Fetched: s.now(), Next: client.RefreshAt(cred, s.now())}
	e.Token, e.TokenUntil = c.Token()
	return e, nil
}

func (s Source) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// HTTPClient returns a client that trusts the certificates in caFile only, if
// one is named. Parsing the system's certificates takes longer than all else
// together; Go leaves it to the moment they are needed.
func HTTPClient(caFile string) (*http.Client, error) {
	h := &http.Client{Timeout: httpTimeout}
	if caFile == "" {
		return h, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, usagef("reading the certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("%s holds no certificate", caFile)
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	h.Transport = t
	return h, nil
}

// APIKey returns the API key: what the environment holds, else the content of
// the file. Neither is no error here: an agent may make it unnecessary.
func APIKey(fromEnv, file string) (string, error) {
	if key := strings.TrimSpace(fromEnv); key != "" || file == "" {
		return key, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("reading the API key: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", usagef("reading the API key: %s does not hold exactly one line", file)
	}
	return key, nil
}
