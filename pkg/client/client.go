// Package client reads credentials from a keyrot server: an API key is
// exchanged for a short-lived token, the token and the API key for a
// credential. It imports no AWS SDK.
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
)

const (
	defTimeout = 10 * time.Second
	maxAnswer  = 64 << 10        // bytes
	tokenSpare = 5 * time.Second // a token this close to its end is not used any more
)

// Client reads credentials. Safe for concurrent use; must not be copied after
// first use. It keeps the token in memory, credentials nowhere.
type Client struct {
	// Endpoint is the server's URL, with a path if the API has one.
	Endpoint string
	// APIKey is sent with every request.
	APIKey string
	// HTTP makes the requests. Default: a client with a time-out of 10 s.
	// Redirects are never followed, they would carry the API key elsewhere.
	HTTP *http.Client
	// AllowPlainHTTP permits http:// to hosts other than loopback.
	AllowPlainHTTP bool
	// Now is the clock. Default time.Now.
	Now func() time.Time

	mu    sync.Mutex
	token string
	until time.Time
}

// Credential returns the user's active key. Errors: those of this package, and
// [*api.Refusal], which wraps the sentinels of package api.
func (c *Client) Credential(ctx context.Context, user string) (api.Credential, error) {
	token, fresh, err := c.currentToken(ctx)
	if err != nil {
		return api.Credential{}, err
	}
	cred, err := c.activeKey(ctx, user, token)
	if errors.Is(err, api.ErrUnauthorized) && !fresh { // expired by the server's clock, or its keys changed
		c.forget(token)
		if token, _, err = c.currentToken(ctx); err != nil {
			return api.Credential{}, err
		}
		cred, err = c.activeKey(ctx, user, token)
	}
	return cred, err
}

func (c *Client) activeKey(ctx context.Context, user, token string) (api.Credential, error) {
	var cred api.Credential
	query := url.Values{api.ParamUser: {user}}
	if err := c.call(ctx, http.MethodGet, api.PathActiveKey, query, token, &cred); err != nil {
		return api.Credential{}, fmt.Errorf("reading the key of %q: %w", user, err)
	}
	if cred.AccessKeyID == "" || cred.SecretAccessKey == "" {
		return api.Credential{}, fmt.Errorf("reading the key of %q: %w", user, ErrNotKeyrot)
	}
	return cred, nil
}

// currentToken returns a token that is good for a while, and whether it was
// just issued.
func (c *Client) currentToken(ctx context.Context) (token string, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock() // held during the request: one token serves all who wait
	now := c.now()
	if c.token != "" && now.Before(c.until) {
		return c.token, false, nil
	}
	var t api.Token
	if err := c.call(ctx, http.MethodPost, api.PathToken, nil, "", &t); err != nil {
		return "", false, fmt.Errorf("getting a token: %w", err)
	}
	if t.Token == "" {
		return "", false, fmt.Errorf("getting a token: %w", ErrNotKeyrot)
	}
	c.token, c.until = t.Token, now.Add(time.Duration(t.ExpiresIn)*time.Second-tokenSpare)
	return c.token, true, nil
}

func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// call makes one request. No retry here: the caller knows how long it can wait.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, token string, into any) error {
	base, err := c.base()
	if err != nil {
		return err
	}
	u := base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set(api.HeaderAPIKey, c.APIKey)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http().Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text repeats the whole URL
		}
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
	}
	if res.StatusCode != http.StatusOK {
		return refusal(res, raw)
	}
	if err := json.Unmarshal(raw, into); err != nil { // the cause may quote the answer
		return ErrNotKeyrot
	}
	return nil
}

func refusal(res *http.Response, raw []byte) error {
	var body api.Error
	if err := json.Unmarshal(raw, &body); err != nil || body.Message == "" {
		return fmt.Errorf("%w: status %d", ErrNotKeyrot, res.StatusCode)
	}
	r := api.FromAnswer(res.StatusCode, body)
	r.RequestID = res.Header.Get(api.HeaderRequestID)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		r.RetryAfter = time.Duration(s) * time.Second
	}
	return r
}

// base checks the endpoint: a key must not cross a network in the clear.
func (c *Client) base() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
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
