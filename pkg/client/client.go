// Package client reads credentials from a keyrot server: an API key is
// exchanged for a short-lived token, the token and the API key for a
// credential. A [Proof] of who asks may take the API key's place. It imports no
// AWS SDK.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// Errors of the way to the server. Those of the server are package api's.
var (
	// ErrUnreachable means that no server answered.
	ErrUnreachable = errors.New("server cannot be reached")
	// ErrPlainHTTP means that the API key was not sent, because the way to
	// the server is not encrypted.
	ErrPlainHTTP = errors.New("refusing to send an API key over plain HTTP")
	// ErrNotKeyrot means that something answered, but in other words.
	ErrNotKeyrot = errors.New("answer is not keyrot's")
	// ErrNotModified means that the credential is the one that was named by
	// its tag.
	ErrNotModified = errors.New("credential has not changed")
)

const (
	defTimeout = 10 * time.Second
	maxAnswer  = 64 << 10        // bytes
	tokenSpare = 5 * time.Second // a token this close to its end is not used any more

	patience   = 6 * time.Second // with what stands before the server
	firstPause = 250 * time.Millisecond
)

// Client reads credentials. Safe for concurrent use; must not be copied after
// first use. It keeps the token in memory, credentials nowhere.
type Client struct {
	// Endpoint is the server's URL, with a path if the API has one.
	Endpoint string
	// APIKey is sent with every request.
	APIKey string
	// Key takes APIKey's place: it is asked before every request, for a key
	// that is rotated, and again when the server refuses. Default none.
	Key func() (string, error)
	// Proof takes the API key's place: it is sent when a token is needed,
	// which goes alone then. Default none.
	Proof Proof
	// HTTP makes the requests. Default: a client with a time-out of 10 s.
	// Redirects are never followed, they would carry the API key elsewhere.
	HTTP *http.Client
	// AllowPlainHTTP permits http:// to hosts other than loopback.
	AllowPlainHTTP bool
	// Now is the clock. Default time.Now.
	Now func() time.Time

	mu    sync.Mutex
	token string
	owner string    // the API key that the token was given for
	until time.Time // by this machine's clock: how long it is good for is told, not until when

	clock clock
}

// Credential returns the user's active key. Errors: those of this package, and
// [*api.Refusal], which wraps the sentinels of package api.
func (c *Client) Credential(ctx context.Context, user string) (api.Credential, error) {
	cred, _, err := c.CredentialIfChanged(ctx, user, "")
	return cred, err
}

// CredentialIfChanged is Credential for those who ask again and again. tag is
// what the answer before came with, or ""; if the credential is still the same
// the error is [ErrNotModified] and no secret travels. A caller with a tag has
// a credential that works and gets every error at once; for one without, what
// something before the server answered is asked again, for some seconds.
func (c *Client) CredentialIfChanged(ctx context.Context, user, tag string) (cred api.Credential, newTag string, err error) {
	cred, newTag, err = c.ask(ctx, user, tag)
	if tag != "" || !passing(err) {
		return cred, newTag, err
	}
	again, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := firstPause; passing(err) && rest(again, pause); pause *= 2 {
		next, nextTag, nerr := c.ask(again, user, "")
		if nerr != nil && again.Err() != nil {
			break // what was answered says more
		}
		cred, newTag, err = next, nextTag, nerr
	}
	if ctx.Err() != nil {
		return api.Credential{}, "", ctx.Err()
	}
	return cred, newTag, err
}

// ask asks with the API key that is valid now.
func (c *Client) ask(ctx context.Context, user, tag string) (cred api.Credential, newTag string, err error) {
	key, err := c.apiKey()
	if err != nil {
		return api.Credential{}, "", err
	}
	cred, newTag, err = c.credential(ctx, key, user, tag)
	if !errors.Is(err, api.ErrForbidden) && !errors.Is(err, api.ErrUnauthorized) && !errors.Is(err, api.ErrNotAllowed) {
		return cred, newTag, err
	}
	if now, kerr := c.apiKey(); kerr == nil && now != key { // it was replaced meanwhile
		return c.credential(ctx, now, user, tag)
	}
	return cred, newTag, err
}

func (c *Client) apiKey() (string, error) {
	if c.Key == nil || c.Proof != nil {
		return c.APIKey, nil
	}
	return c.Key()
}

// credential asks with one API key.
func (c *Client) credential(ctx context.Context, key, user, tag string) (cred api.Credential, newTag string, err error) {
	token, fresh, err := c.currentToken(ctx, key)
	if err != nil {
		return api.Credential{}, "", err
	}
	cred, newTag, err = c.activeKey(ctx, key, user, token, tag)
	if c.outdated(err) && !fresh { // expired by the server's clock, or its keys changed
		c.forget(token)
		if token, _, err = c.currentToken(ctx, key); err != nil {
			return api.Credential{}, "", err
		}
		cred, newTag, err = c.activeKey(ctx, key, user, token, tag)
	}
	return cred, newTag, err
}

// outdated reports whether another token may help. Without an API key a server
// says no more than that the caller is nobody, and a gateway before it may say
// 403 whatever it does not like.
func (c *Client) outdated(err error) bool {
	return errors.Is(err, api.ErrUnauthorized) || errors.Is(err, api.ErrForbidden) && (c.Proof != nil || api.ByGateway(err))
}

func (c *Client) activeKey(ctx context.Context, key, user, token, tag string) (cred api.Credential, newTag string, err error) {
	r := call{method: http.MethodGet, path: api.PathActiveKey, query: url.Values{api.ParamUser: {user}}, key: key, token: token, tag: tag}
	newTag, err = c.call(ctx, r, &cred, func() bool {
		another := cred.UserName != "" && cred.UserName != user // from a cache that does not look at queries
		return cred.AccessKeyID != "" && cred.SecretAccessKey != "" && !cred.Expiration.IsZero() && !another
	})
	if err != nil {
		return api.Credential{}, "", fmt.Errorf("reading the key of %q: %w", user, err)
	}
	return cred, newTag, nil
}

// Token returns the token in use and until when it is, for [Client.UseToken]
// in another process. There may be none.
func (c *Client) Token() (token string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token, c.until
}

// UseToken makes the client use a token that another one got.
func (c *Client) UseToken(token string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.owner, c.until = token, c.APIKey, until
}

// currentToken returns a token that is good for a while, and whether it was
// just issued.
func (c *Client) currentToken(ctx context.Context, key string) (token string, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock() // held during the request: one token serves all who wait
	now := c.now()
	if c.token != "" && c.owner == key && now.Before(c.until) {
		return c.token, false, nil
	}
	ahead := c.Ahead()
	t, err := c.newToken(ctx, key)
	if c.Proof != nil && c.outdated(err) && (c.Ahead()-ahead).Abs() > skew { // it was dated by a wrong clock
		t, err = c.newToken(ctx, key)
	}
	if err != nil {
		return "", false, err
	}
	c.token, c.owner, c.until = t.Token, key, now.Add(time.Duration(t.ExpiresIn)*time.Second-tokenSpare)
	return c.token, true, nil
}

// newToken asks for a token, once.
func (c *Client) newToken(ctx context.Context, key string) (t api.Token, err error) {
	r := call{method: http.MethodPost, path: api.PathToken, key: key}
	if c.Proof != nil {
		if _, err := c.base(); err != nil { // before anything is proved to a wrong address
			return t, err
		}
		if r.header, r.value, err = c.Proof(ctx, c.Time()); err != nil {
			return t, fmt.Errorf("proving the caller's identity: %w", err)
		}
	}
	if _, err := c.call(ctx, r, &t, func() bool { return t.Token != "" }); err != nil {
		return api.Token{}, fmt.Errorf("getting a token: %w", err)
	}
	return t, nil
}

func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	key          string // the API key
	token, tag   string // "": none

	header, value string // of a proof, in place of the API key
}

// call makes one request, decodes the answer, of which whole tells whether it is
// keyrot's, and returns its tag. No retry here: the caller knows how long it can
// wait.
func (c *Client) call(ctx context.Context, r call, into any, whole func() bool) (tag string, err error) {
	base, err := c.base()
	if err != nil {
		return "", err
	}
	u := base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return "", err
	}
	if c.Proof == nil {
		req.Header.Set(api.HeaderAPIKey, r.key)
	}
	if r.header != "" {
		req.Header.Set(r.header, r.value)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.tag != "" {
		req.Header.Set("If-None-Match", r.tag)
	}
	sent := c.now()
	res, err := c.http().Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text repeats the whole URL
		}
		return "", fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return "", fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
	case res.StatusCode == http.StatusNotModified && r.tag != "" && sameTag(res.Header.Get("ETag"), r.tag):
		c.learn(res.Header, sent)
		return r.tag, ErrNotModified
	case res.StatusCode != http.StatusOK:
		own, err := refusal(res, raw)
		if own {
			c.learn(res.Header, sent)
		}
		return "", err
	}
	if err := json.Unmarshal(raw, into); err != nil || !whole() { // the cause may quote the answer
		return "", ErrNotKeyrot
	}
	c.learn(res.Header, sent)
	return res.Header.Get("ETag"), nil
}

// sameTag compares entity tags weakly (RFC 9110 §8.8.3.2): a proxy that
// compresses weakens them. A 304 without the tag that was asked about is not
// keyrot's, which sends it always.
func sameTag(a, b string) bool {
	return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

func refusal(res *http.Response, raw []byte) (own bool, err error) {
	var body api.Error
	if err := json.Unmarshal(raw, &body); err != nil || body.Message == "" {
		return false, fmt.Errorf("%w: status %d", ErrNotKeyrot, res.StatusCode)
	}
	r := api.FromAnswer(res.StatusCode, body)
	r.RequestID = res.Header.Get(api.HeaderRequestID)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		r.RetryAfter = time.Duration(s) * time.Second
	}
	return body.Code != "", r
}

// base checks the endpoint: a key must not cross a network in the clear.
func (c *Client) base() (*url.URL, error) {
	if strings.Contains(c.Endpoint, "@") { // not to be repeated
		return nil, errors.New("endpoint is not a URL such as https://keyrot.example:8443: it holds a user or a password")
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("endpoint %q is not a URL such as https://keyrot.example:8443", c.Endpoint)
	}
	if u.Scheme == "http" && !c.AllowPlainHTTP && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%w to %s", ErrPlainHTTP, u.Host)
	}
	return u, nil
}

func (c *Client) http() *http.Client {
	h := http.Client{Timeout: defTimeout}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
