// Package getkey is the command get-key: where a credential comes from (the
// local agent, the sealed cache, the server), the formats it is printed in,
// and the profile that makes an SDK ask for it.
//
// It is linked into keyrot and into the thin keyrot-get, whose whole-process
// time is felt before API calls: no SDK, no configuration library, nothing
// heavy may be imported here. Not even net/http, which takes longer to
// initialise than all that is done when the agent or the cache answers: asking
// the server is package fetch's, which [Warm] does without.
package getkey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/api"
)

// Entry is what is cached for one user: a credential and a token.
type Entry = entry.Entry

// ErrUsage means that what was asked for cannot work; ErrNoAPIKey that there is
// no API key to ask with.
var (
	ErrUsage    = errors.New("bad input")
	ErrNoAPIKey = errors.New("no API key is given")
	errCold     = errors.New("the cache does not have it")
)

// usageError is an error that also is [ErrUsage], which its text does not
// repeat.
type usageError struct{ error }

func (u usageError) Unwrap() []error { return []error{u.error, ErrUsage} }

// Usagef returns an error that is [ErrUsage], too.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

const (
	aheadWait = time.Second     // for a server, while what is cached works
	lockWait  = 5 * time.Second // for another process that fetches the same
)

// Fetch asks the server for what has changed since e.
type Fetch func(ctx context.Context, s Source, user string, e Entry) (Entry, error)

// Source is where credentials come from.
type Source struct {
	Endpoint       string // URL of the server
	APIKey         string
	Identify       func(context.Context) (Identity, error) // instead of APIKey; nil: none
	Identity       *Identity                               // what Identify found out
	CAFile         string                                  // PEM file; "": the system's certificates
	AllowPlainHTTP bool
	CacheDir       string           // "": no cache
	Fetch          Fetch            // nil: cache only
	Now            func() time.Time // nil: time.Now
}

// Credential returns the user's active key: from the cache while enough of its
// life is left, otherwise from the server.
// If that fails, what is cached is used until its Expiration. One of several
// processes asks the server, the others wait for what it caches.
func (s *Source) Credential(ctx context.Context, user string) (api.Credential, error) {
	if s.Identify != nil {
		return s.identified(ctx, user)
	}
	if s.Fetch == nil {
		return s.cached(user)
	}
	return s.fetched(ctx, user)
}

// identified is Credential for who says anew each time who asks.
func (s *Source) identified(ctx context.Context, user string) (api.Credential, error) {
	id, err := s.Identify(ctx)
	if err != nil {
		return api.Credential{}, err
	}
	named := *s
	named.Identity = &id
	if named.Fetch == nil {
		return named.cached(user)
	}
	return named.fetched(ctx, user)
}

// fetched is a function of its own because the stack need not grow where the
// cache answers.
func (s *Source) fetched(ctx context.Context, user string) (api.Credential, error) {
	if s.APIKey == "" && s.Identity == nil {
		return api.Credential{}, ErrNoAPIKey
	}
	if s.CacheDir == "" {
		e, err := s.Fetch(ctx, *s, user, Entry{})
		return api.Credential(e.Credential), err
	}
	k, err := s.cacheFor(user)
	if err != nil {
		return api.Credential{}, err
	}
	e := k.load()
	if e.Fresh(s.Clock()) {
		return api.Credential(e.Credential), nil
	}
	wait := lockWait
	if e.Valid(s.Clock()) {
		wait = 0 // another process fetches: what is there will do
	}
	unlock, locked := k.lock(ctx, wait)
	defer unlock()
	if now := k.load(); now.Valid(s.Clock()) { // fetched meanwhile
		e = now
	}
	if e.Fresh(s.Clock()) || e.Valid(s.Clock()) && !locked {
		return api.Credential(e.Credential), nil
	}
	return s.renew(ctx, user, k, e)
}

// cached returns what needs nobody's help, or [errCold].
func (s *Source) cached(user string) (api.Credential, error) {
	if s.APIKey == "" && s.Identity == nil || s.CacheDir == "" {
		return api.Credential{}, errCold
	}
	k, err := s.cacheFor(user)
	if err != nil {
		return api.Credential{}, err
	}
	return k.warm(s.Clock())
}

// renew asks the server and caches the answer.
func (s *Source) renew(ctx context.Context, user string, k *cache, e Entry) (api.Credential, error) {
	asking := ctx
	if e.Valid(s.Clock()) { // a server that hangs must not hold up what works without it
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, aheadWait)
		defer cancel()
	}
	fetched, err := s.Fetch(asking, *s, user, e)
	switch {
	case err == nil:
		k.save(fetched)
		return api.Credential(fetched.Credential), nil
	case api.Withdrawn(err):
		k.clear()
		return api.Credential{}, err
	case e.Valid(s.Clock()):
		e.Next = NextAsk(api.Credential(e.Credential), e.Tag, e.Time(s.Clock()))
		k.save(e)
		return api.Credential(e.Credential), nil
	}
	return api.Credential{}, err
}

// poll is how soon a server is asked again that answers "not changed" to who
// names what it has: a key that was burned is not printed for longer.
const poll = time.Minute

// NextAsk returns when to ask the server again after it gave c with the tag.
func NextAsk(c api.Credential, tag string, now time.Time) time.Time {
	at := api.RefreshAt(c, now)
	if soon := now.Add(poll); tag != "" && soon.Before(at) {
		return soon
	}
	return at
}

// Clock returns the time.
func (s *Source) Clock() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// APIKey returns the API key: what the environment holds, else the content of
// the file. Neither is no error here: an agent may make it unnecessary.
func APIKey(fromEnv, file string) (string, error) {
	if key := strings.TrimSpace(fromEnv); key != "" || file == "" {
		return key, nil
	}
	raw, err := readFile(file)
	if err != nil {
		return "", Usagef("reading the API key: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", Usagef("reading the API key: %s does not hold exactly one line", file)
	}
	return key, nil
}

func readFile(path string) ([]byte, error) {
	raw, err := quick.ReadTrusted(path)
	if err != nil {
		if hint.Of(err) != "" { // it names the path itself, and what to do
			return nil, err
		}
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return raw, nil
}
