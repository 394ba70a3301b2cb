// Package fetch is the part of get-key that speaks with a server.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

const httpTimeout = 15 * time.Second

// Fetch is a [getkey.Fetch].
func Fetch(ctx context.Context, s getkey.Source, user string, e getkey.Entry) (getkey.Entry, error) {
	h, err := HTTPClient(s.CAFile, nil)
	if err != nil {
		return getkey.Entry{}, err
	}
	c := &client.Client{Endpoint: s.Endpoint, APIKey: s.APIKey, HTTP: h, AllowPlainHTTP: s.AllowPlainHTTP, Now: s.Now}
	if s.Identity != nil {
		c.Proof = s.Identity.Proof
	}
	c.UseToken(e.Token, e.TokenUntil)
	c.UseAhead(e.Ahead())
	tag := e.Tag
	if !e.Valid(s.Clock()) {
		tag = ""
	}
	cred, newTag, err := c.CredentialIfChanged(ctx, user, tag)
	if errors.Is(err, client.ErrNotModified) {
		cred, newTag, err = api.Credential(e.Credential), e.Tag, nil
	}
	if err != nil {
		return getkey.Entry{}, err
	}
	e = getkey.Entry{Credential: entry.Credential(cred), Tag: newTag, Fetched: s.Clock()}
	e.Served = e.Fetched.Add(c.Ahead())
	e.Next = getkey.NextAsk(cred, newTag, e.Time(e.Fetched))
	e.Token, e.TokenUntil = c.Token()
	return e, nil
}

// HTTPClient returns a client that trusts the certificates in caFile only, if
// one is named. The file is read again at every request. Parsing the system's
// certificates takes longer than all else together; Go leaves it to the moment
// they are needed. log may be nil.
func HTTPClient(caFile string, log *slog.Logger) (*http.Client, error) {
	h := &http.Client{Timeout: httpTimeout}
	if caFile == "" {
		h.Transport = transport()
		return h, nil
	}
	t := &trusting{file: disk.Value[string]{Path: caFile, Log: log, Read: func() (string, error) {
		pem, err := disk.ReadTrusted(caFile)
		if err != nil {
			return "", fmt.Errorf("%w: reading the certificates to trust: %w", getkey.ErrUsage, err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return "", fmt.Errorf("%w: %s holds no certificate", getkey.ErrUsage, caFile)
		}
		return string(pem), nil
	}}}
	if _, err := t.transport(); err != nil {
		return nil, err
	}
	h.Transport = t
	return h, nil
}

// A connection of HTTP/2 that brings nothing for pingAfter is asked for a sign of
// life, and given up after pingWait: one that has died, in a gateway that forgot
// it, would be used for every attempt until the kernel notices.
const (
	pingAfter = 5 * time.Second
	pingWait  = 5 * time.Second
)

func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait}
	return t
}

// trusting makes requests to servers with a certificate of those in a file.
type trusting struct {
	file disk.Value[string]

	mu  sync.Mutex
	pem string
	t   *http.Transport // that trusts what is in pem
}

// RoundTrip implements [http.RoundTripper].
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	via, err := t.transport()
	if err != nil {
		return nil, err
	}
	return via.RoundTrip(r)
}

func (t *trusting) transport() (*http.Transport, error) {
	pem, err := t.file.Get()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.t != nil && t.pem == pem {
		return t.t, nil
	}
	if t.t != nil {
		t.t.CloseIdleConnections()
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pem))
	t.t = transport()
	t.t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	t.pem = pem
	return t.t, nil
}

// badInput are errors that need another input, not another try.
var badInput = []error{
	getkey.ErrUsage, getkey.ErrNoAPIKey, api.ErrForbidden, api.ErrNotAllowed, api.ErrBadRequest,
	api.ErrUnknownUser, client.ErrPlainHTTP,
}

// BadInput reports whether what was given must change before err goes away.
func BadInput(err error) bool {
	if api.ByGateway(err) { // it may refuse what keyrot would accept
		return false
	}
	for _, bad := range badInput {
		if errors.Is(err, bad) {
			return true
		}
	}
	return false
}

// advice are hints for errors that do not bring their own.
var advice = []struct {
	err  error
	hint string
}{
	{getkey.ErrNoAPIKey, `set KEYROT_API_KEY or --api-key-file; "keyrot api-key create" makes one`},
	{client.ErrUnreachable, `start it with "keyrot serve", or name it with --endpoint or KEYROT_ENDPOINT`},
	{client.ErrPlainHTTP, "use an https:// endpoint"},
	{client.ErrNotKeyrot, "check --endpoint: something else answers there"},
	{api.ErrForbidden, `check KEYROT_API_KEY or --api-key-file; "keyrot api-key list" shows the keys there are; other identities ` +
		`are in the server's server.identities`},
	{api.ErrUnauthorized, "check the clocks of both machines"},
	{api.ErrNotAllowed, `make a key for this user with "keyrot api-key create --users"`},
	{api.ErrUnknownUser, `"keyrot status" lists the users that the server manages`},
	{api.ErrNoKeyReady, "try again in a few seconds; the server's log says what it waits for"},
}

// Hint returns what to do about err, or "".
func Hint(err error) string {
	if h := hint.Of(err); h != "" {
		return h
	}
	if api.ByGateway(err) && (errors.Is(err, api.ErrForbidden) || errors.Is(err, api.ErrUnauthorized)) {
		return "ask who runs the gateway or firewall before keyrot; " +
			"the gateway of a deployed stack refuses a wrong API key like this, too: check KEYROT_API_KEY or --api-key-file"
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return a.hint
		}
	}
	return ""
}

// Report tells a person what went wrong, each problem on a line, then a hint,
// and returns the exit code.
func Report(w io.Writer, program string, err error) (code int) {
	if err == nil {
		return 0
	}
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(w, "%s: error: %s\n", program, strings.TrimSuffix(line, "\n"))
	}
	if h := Hint(err); h != "" {
		_, _ = fmt.Fprintf(w, "%s: hint: %s\n", program, h)
	}
	if BadInput(err) {
		return 2
	}
	return 1
}
