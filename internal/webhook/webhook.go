// Package webhook posts JSON to a URL that somebody else runs: over TLS, to
// that URL only, and without repeating URL or answer in an error, since either
// may hold something secret. It does not know what is posted.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/bound"
)

// The headers of a signed request. The signature is "v1=" and the HMAC-SHA256,
// in hexadecimal, of timestamp, full stop and body. A receiver refuses old
// timestamps and repeated ids.
const (
	HeaderTimestamp = "Keyrot-Timestamp" // seconds since 1970
	HeaderSignature = "Keyrot-Signature"
	HeaderID        = "Idempotency-Key"
)

const timeout = 10 * time.Second

// Check reports whether a URL may be posted to: https, or http to this machine.
func Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return errors.New("is not a URL")
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() || u.Hostname() == "localhost" {
			return nil
		}
	}
	return errors.New("is not https")
}

// Post posts body and wants a 2xx answer within 10 s or until ctx ends: no page
// for people, as a log-in before the receiver answers. With a key the request is
// signed. now is the timestamp.
func Post(ctx context.Context, to, id string, body, key []byte, now time.Time) error {
	if err := Check(to); err != nil {
		return fmt.Errorf("the webhook's URL %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "keyrot")
	req.Header.Set(HeaderID, id)
	if key != nil {
		stamp := strconv.FormatInt(now.Unix(), 10)
		req.Header.Set(HeaderTimestamp, stamp)
		req.Header.Set(HeaderSignature, Sign(key, stamp, body))
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("posting to %s: %w", req.URL.Hostname(), bare(err))
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	switch {
	case res.StatusCode/100 != 2:
		return &Refusal{Host: req.URL.Hostname(), Status: res.StatusCode, RetryAfter: retryAfter(res.Header)}
	case strings.HasPrefix(http.DetectContentType(answer), "text/html"):
		return fmt.Errorf("%s answered %d with a page, which something before the receiver may have written", req.URL.Hostname(), res.StatusCode)
	}
	return nil
}

// Refusal is an answer other than 2xx.
type Refusal struct {
	Host       string
	Status     int
	RetryAfter time.Duration // that the answer asks for; zero if it does not
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%s answered %d", r.Host, r.Status) }

// retryAfter reads a number of seconds, or a date, which is held against the
// answer's own.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(s, 0), 1<<30)) * time.Second
	}
	at, err := http.ParseTime(v)
	now, derr := http.ParseTime(h.Get("Date"))
	if err != nil || derr != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// Sign returns the signature's header.
func Sign(key []byte, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(timestamp))
	h.Write([]byte("."))
	h.Write(body)
	return "v1=" + hex.EncodeToString(h.Sum(nil))
}

// Reach reports why nobody answers at the address, by the way that a post takes.
// Any answer will do: nothing is posted.
func Reach(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, to, nil)
	if err != nil {
		return errors.New("the webhook's URL cannot be used")
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", req.URL.Hostname(), bare(err))
	}
	return res.Body.Close()
}

// bare returns err without the URL, which may be a secret.
func bare(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

// A redirect would carry the body to an address that nobody configured.
var client = &http.Client{
	Timeout: timeout, Transport: bound.Transport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
