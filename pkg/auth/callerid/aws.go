package callerid

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
)

const (
	stsAction  = "GetCallerIdentity"
	stsVersion = "2011-06-15"
	maxLife    = 15 * time.Minute // STS itself takes no signature for longer
	amzTime    = "20060102T150405Z"
)

// fixed are the parameters that have one value only, free those that differ.
// Each is given once, and there are no others but a session's token. What the
// client signs beside them we send ourselves: the host is our own endpoint's,
// the id our own.
var (
	fixed = map[string]string{
		"Action": stsAction, "Version": stsVersion, "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-SignedHeaders": api.SignedHeaders,
	}
	free = map[string]*regexp.Regexp{
		"X-Amz-Credential": regexp.MustCompile(`^[A-Z0-9]{16,128}/[0-9]{8}/[a-z0-9-]{1,32}/sts/aws4_request$`),
		"X-Amz-Date":       regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`),
		"X-Amz-Expires":    regexp.MustCompile(`^[1-9][0-9]{0,2}$`),
		"X-Amz-Signature":  regexp.MustCompile(`^[0-9a-f]{64}$`),
	}
	sessionToken = regexp.MustCompile(`^[A-Za-z0-9+/=_-]+$`)
)

const paramToken = "X-Amz-Security-Token" // #nosec G101 -- a parameter's name

// signed is a presigned GetCallerIdentity request, as far as the client has a
// say in it.
type signed struct {
	region string
	query  string // encoded by us from what was checked
}

// AWS returns the caller who signed the request, given as the query string of
// a presigned GetCallerIdentity. A request that is not accepted, here or by
// STS, is [auth.ErrBadKey]; other errors mean that STS could not be asked.
func (v *Verifier) AWS(ctx context.Context, query string) (auth.Key, error) {
	v.init()
	if !slices.ContainsFunc(v.Identities, func(i Identity) bool { return i.AWS != nil }) || v.ServerID == "" {
		return auth.Key{}, refused("no AWS identity is configured")
	}
	s, err := parseSigned(query, v.now())
	if err != nil {
		return auth.Key{}, refused("signed request: %w", err)
	}
	endpoint := v.STS[s.region]
	if endpoint == "" {
		return auth.Key{}, refused("signed for region %q, which is not in server.sts_regions", s.region)
	}
	arn, err := v.ask(ctx, endpoint, s.query)
	if err != nil {
		return auth.Key{}, err
	}
	for _, id := range v.Identities {
		if id.AWS != nil && id.AWS.accepts(arn) {
			return id.accept(kindAWS + arn)
		}
	}
	return auth.Key{}, refused("no identity has %s", arn)
}

func (a *AWS) accepts(arn string) bool {
	return slices.ContainsFunc(a.ARNs, func(pattern string) bool {
		ok, err := path.Match(pattern, arn)
		return err == nil && ok
	})
}

// parseSigned checks all of the query that can be checked without the secret.
func parseSigned(query string, now time.Time) (signed, error) {
	if len(query) > maxProof {
		return signed{}, fmt.Errorf("longer than %d bytes", maxProof)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return signed{}, errors.New("not a query string")
	}
	want := len(fixed) + len(free)
	if q.Has(paramToken) {
		want++
	}
	if len(q) != want {
		return signed{}, fmt.Errorf("%d parameters, want %d", len(q), want)
	}
	for name, values := range q {
		constant, isFixed := fixed[name]
		shape, isFree := free[name]
		if name == paramToken {
			shape, isFree = sessionToken, true
		}
		switch {
		case len(values) != 1:
			return signed{}, fmt.Errorf("%q more than once", name)
		case isFixed && values[0] == constant, isFree && shape.MatchString(values[0]):
		default:
			return signed{}, fmt.Errorf("parameter %q is unknown or not as it must be", name)
		}
	}
	if err := inTime(q.Get("X-Amz-Date"), q.Get("X-Amz-Expires"), now); err != nil {
		return signed{}, err
	}
	scope := strings.Split(q.Get("X-Amz-Credential"), "/")
	if date, _, _ := strings.Cut(q.Get("X-Amz-Date"), "T"); scope[1] != date {
		return signed{}, errors.New("signed with the key of another day")
	}
	return signed{region: scope[2], query: q.Encode()}, nil
}

// inTime reports whether a signature of that date is good at now. STS looks at
// the date only: the shorter life that a client asked for is ours to keep.
func inTime(date, expires string, now time.Time) error {
	at, err := time.Parse(amzTime, date)
	if err != nil {
		return errors.New("X-Amz-Date is not a date")
	}
	seconds, _ := strconv.Atoi(expires) // at most three digits
	life := time.Duration(seconds) * time.Second
	switch age := now.Sub(at); {
	case life > maxLife:
		return fmt.Errorf("X-Amz-Expires is more than %s", maxLife)
	case age < -leeway:
		return errors.New("signed in the future")
	case age > life+leeway || age > maxLife:
		return errors.New("expired")
	}
	return nil
}
