package api

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors a client may have to decide on.
var (
	ErrForbidden    = errors.New("API key or identity missing or not accepted")
	ErrUnauthorized = errors.New("token missing, expired or not accepted")
	ErrNotAllowed   = errors.New("this API key may not read this user")
	ErrBadRequest   = errors.New("bad request")
	ErrUnknownUser  = errors.New("unknown user")
	ErrNoKeyReady   = errors.New("no working key right now")
	ErrTooMany      = errors.New("too many requests")
	ErrTooLarge     = errors.New("request too large")
	ErrNotFound     = errors.New("no such route")
	ErrMethod       = errors.New("method not allowed")
	ErrUnavailable  = errors.New("temporarily unavailable")
	ErrInternal     = errors.New("internal server error")
)

// Error is the body of every answer that is not a success. Its words are
// those of API Gateway where that would answer the same, so that a client
// sees no difference between the daemon and a deployed stack.
type Error struct {
	Message string `json:"message"`
	Code    string `json:"code"`
}

// table maps each sentinel to what is sent. Numbers, because net/http costs a
// short-lived program more time than all it does with this package.
//
// Two sentinels may share a status
// but never a code.
var table = []struct {
	err     error
	status  int
	code    string
	message string
}{
	{ErrForbidden, 403, "forbidden", "Forbidden"},
	{ErrUnauthorized, 401, "unauthorized", "Unauthorized"},
	{ErrNotAllowed, 403, "user_not_allowed", "User is not allowed to this API key"},
	{ErrBadRequest, 400, "bad_request", "Bad Request"},
	{ErrUnknownUser, 404, "unknown_user", "Unknown user"},
	{ErrNoKeyReady, 503, "no_key_ready", "No working key right now"},
	{ErrTooMany, 429, "too_many_requests", "Too Many Requests"},
	{ErrTooLarge, 413, "too_large", "Request Entity Too Large"},
	{ErrNotFound, 404, "not_found", "Not Found"},
	{ErrMethod, 405, "method_not_allowed", "Method Not Allowed"},
	{ErrUnavailable, 503, "unavailable", "Service Unavailable"},
	{ErrInternal, 500, "internal", "Internal Server Error"},
}

// Answer returns the status and body for err: those of the first sentinel it
// wraps, otherwise those of [ErrInternal]. Nothing else of err is told, apart
// from a [*BadRequest]'s text, which exists to be told.
func Answer(err error) (int, Error) {
	for _, row := range table {
		if !errors.Is(err, row.err) {
			continue
		}
		body := Error{Message: row.message, Code: row.code}
		var bad *BadRequest
		if errors.As(err, &bad) {
			body.Message = bad.Text
		}
		return row.status, body
	}
	return Answer(ErrInternal)
}

// BadRequest is an [ErrBadRequest] whose text is meant for the caller.
type BadRequest struct{ Text string }

// Error implements error.
func (e *BadRequest) Error() string { return e.Text }

// Unwrap makes it an [ErrBadRequest].
func (*BadRequest) Unwrap() error { return ErrBadRequest }

// Refusal is an error that a server answered with.
type Refusal struct {
	Status     int
	Body       Error
	RequestID  string        // for the server's log; may be empty
	RetryAfter time.Duration // zero if the server named none
	err        error         // the sentinel, nil if the answer is none we know
	ours       bool          // a keyrot server wrote it, not something before it
}

// FromAnswer is the inverse of [Answer]. An answer that does not carry a code
// of ours with its status was written by something before the server, such as
// a gateway or a firewall; it is recognised by its status.
func FromAnswer(status int, body Error) *Refusal {
	r := &Refusal{Status: status, Body: body}
	for _, row := range table {
		if row.code == body.Code && row.status == status {
			r.err, r.ours = row.err, true
			return r
		}
	}
	for _, row := range table {
		if row.status == status {
			r.err = row.err
			return r
		}
	}
	return r
}

// Withdrawn reports whether a keyrot server said that the caller may not have
// the credential any more, so that what it gave before must not be used. What
// a gateway or a firewall says takes nothing away: the same request may pass a
// moment later, and a credential works until its Expiration.
func Withdrawn(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.ours && (errors.Is(err, ErrForbidden) || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrNotAllowed))
}

// ByGateway reports whether err is the answer of something before the server,
// such as a gateway or a firewall.
func ByGateway(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && !r.ours
}

// Error implements error.
func (r *Refusal) Error() string {
	msg := fmt.Sprintf("server answered %d", r.Status)
	if r.err != nil {
		msg = r.err.Error()
	}
	if r.Body.Message != "" && !strings.EqualFold(r.Body.Message, msg) {
		msg += fmt.Sprintf(" (%d %q)", r.Status, brief(r.Body.Message))
	}
	if r.err != nil && !r.ours {
		msg += ", answered by a gateway or proxy, not by keyrot"
	}
	if r.RequestID != "" {
		msg += ", request " + brief(r.RequestID)
	}
	return msg
}

// brief cuts what something before the server may have written.
func brief(s string) string {
	const most = 300 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Unwrap returns the sentinel.
func (r *Refusal) Unwrap() error { return r.err }
