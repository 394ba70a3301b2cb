// Package callerid recognises callers that have no API key: AWS identities, by
// a GetCallerIdentity request that they have signed and that STS answers, and
// workloads, by the OIDC token that their platform gives them. What is
// accepted, and what it may read, is in the configuration only.
//
// A caller becomes an [auth.Key] without a secret, whose id names it:
// "aws:" and an ARN, or "oidc:", the name of the entry, ":" and the subject.
// Why the proofs look as they do is in docs/adr/0009-callers-without-keys.md.
//
// It knows no AWS SDK: the signature is the client's to make and STS's to judge.
package callerid

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

// The kinds of callers, as their ids begin.
const (
	kindAWS  = "aws:"
	kindOIDC = "oidc:"
)

// Limits on what is taken from others.
const (
	maxProof  = 8 << 10 // bytes of a token or a signed request
	maxCaller = 300     // bytes of a caller's id: it is part of each token and each hand-out's record
	leeway    = 30 * time.Second
	timeout   = 5 * time.Second // of each request to others
)

// Identity is one entry of the configuration: whom it accepts, and what they
// may do. The first entry that accepts a caller counts.
type Identity struct {
	Name  string
	Users []string  // as [auth.Key]'s
	Role  auth.Role //
	AWS   *AWS      // exactly one of the two
	OIDC  *OIDC
}

// AWS accepts IAM users and roles.
type AWS struct {
	// ARNs are patterns of path.Match over arn:…:iam::ACCOUNT:role/NAME and
	// arn:…:iam::ACCOUNT:user/PATH/NAME, where * does not cross a /. A role has
	// no path here: STS does not tell it.
	ARNs []string
}

// OIDC accepts tokens of one issuer for one audience.
type OIDC struct {
	Issuer, Audience string
	// Subjects are patterns: * is any text, / included, ? any one character.
	Subjects []string
	// Claims are NAME=VALUE: further claims that must be so.
	Claims []string
	// Where the issuer's keys are: one of the two.
	JWKSFile, JWKSURL string
}

// Verifier recognises callers. Safe for concurrent use; must not be copied
// after first use. Its fields must not change then.
type Verifier struct {
	Identities []Identity
	// ServerID is what AWS callers must have signed, so that a request that
	// was signed for somebody else is worth nothing here. Required for them.
	ServerID string
	// STS holds the endpoint of each region that callers may sign for. No
	// other host is ever asked.
	STS map[string]string
	// HTTP makes the requests to STS and for JWKS. Default: a client of its
	// own. Redirects are never followed, and its time-out is 5 s.
	HTTP *http.Client
	// Now is the clock. Default time.Now.
	Now func() time.Time

	once  sync.Once
	marks map[string]int // of Identities, by the mark of their tokens
	sets  map[string]*keySet
	http  *http.Client
	slots chan struct{} // who may ask STS
}

func (v *Verifier) init() {
	v.once.Do(func() {
		h := http.Client{Timeout: timeout}
		if v.HTTP != nil {
			h = *v.HTTP
		} else {
			t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
			// A connection that has died is given up.
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout}
			h.Transport = t
		}
		h.Timeout = timeout
		h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		v.http, v.slots = &h, make(chan struct{}, maxAsking)
		v.marks, v.sets = map[string]int{}, map[string]*keySet{}
		for i, id := range v.Identities {
			v.marks[auth.Key{Hash: id.fingerprint()}.Mark()] = i
			if id.OIDC != nil && v.sets[id.OIDC.source()] == nil {
				v.sets[id.OIDC.source()] = &keySet{load: id.OIDC.loader(&h), now: v.now}
			}
		}
	})
}

// External is a [auth.Tokens.External]. A token names the very entry that
// accepted its caller: if that is gone or was changed, so are its tokens.
func (v *Verifier) External(subject, mark string) (auth.Key, bool) {
	v.init()
	i, ok := v.marks[mark]
	if !ok {
		return auth.Key{}, false
	}
	return v.Identities[i].key(subject), true
}

// fingerprint names the entry as it is. It is no secret.
func (i Identity) fingerprint() []byte {
	raw, _ := json.Marshal(i) // plain strings: never fails
	sum := sha256.Sum256(raw)
	return sum[:]
}

// key is the caller of that id as the entry lets it in.
func (i Identity) key(caller string) auth.Key {
	return auth.Key{ID: caller, Name: i.Name, Hash: i.fingerprint(), Users: i.Users, Role: i.Role}
}

// refused is an [auth.ErrBadKey] whose cause is for our own log.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", auth.ErrBadKey, fmt.Errorf(format, args...))
}

// accept returns the caller's key, unless its id is too long to carry about.
func (i Identity) accept(caller string) (auth.Key, error) {
	if len(caller) > maxCaller {
		return auth.Key{}, refused("the caller's name is longer than %d bytes", maxCaller)
	}
	return i.key(caller), nil
}

// detached returns a context that the client cannot end: the answer is for
// everybody who waits for it.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}
