package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// request is what a route may look at.
type request struct {
	caller auth.Key // zero on open routes
	user   string   // in the path, if the route has one
	query  url.Values
	addr   string // the client's host
	header http.Header
}

// answer is what a route says when it succeeds.
type answer struct {
	status int    // zero: 200
	body   any    // nil: none
	raw    []byte // instead of body, of the type that media names
	media  string
	etag   string
}

const jsonType = "application/json"

// identify finds out who calls, before anything else of the request is read.
type identify func(*http.Request) (auth.Key, error)

// The methods of routes. What is handed out is on record, so a HEAD, which would
// not deliver it, is for what is open to all.
var (
	post = []string{http.MethodPost}
	get  = []string{http.MethodGet}
	look = []string{http.MethodGet, http.MethodHead}
)

// route is the one handler behind all routes: method (nil: any), caller,
// parameters, then fn; and one place where errors become answers.
func (s *Server) route(methods []string, who identify, fn func(context.Context, request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := func() (answer, error) {
			if methods != nil && !slices.Contains(methods, r.Method) {
				w.Header().Set("Allow", strings.Join(methods, ", "))
				return answer{}, api.ErrMethod
			}
			caller, err := s.admit(r, who)
			if err != nil {
				return answer{}, err
			}
			if r.ContentLength > maxBody {
				return answer{}, api.ErrTooLarge
			}
			query, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				return answer{}, &api.BadRequest{Text: "the query string is malformed"}
			}
			return fn(r.Context(), request{caller: caller, user: r.PathValue("user"), query: query, addr: host(r.RemoteAddr), header: r.Header})
		}()
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if a.etag != "" {
			w.Header().Set("ETag", a.etag)
		}
		if a.raw != nil {
			send(w, http.StatusOK, a.media, a.raw)
			return
		}
		write(w, max(a.status, http.StatusOK), a.body)
	})
}

// admit identifies the caller and charges the request: to the caller if the
// credential is good, otherwise to the address. Whoever is above the limit of
// failures learns nothing from further ones.
func (s *Server) admit(r *http.Request, who identify) (auth.Key, error) {
	caller, err := who(r)
	switch {
	case err != nil:
		if status, _ := api.Answer(translate(err)); status < http.StatusInternalServerError {
			err = cmp.Or(s.failures.take(network(host(r.RemoteAddr))), err)
		}
		return caller, err
	case caller.ID == "":
		return caller, nil
	}
	return caller, s.callers.take(caller.ID)
}

// charge is admit's accounting for the status page: see page.Page.Charge.
func (s *Server) charge(r *http.Request, caller string) time.Duration {
	limit, who := s.callers, caller
	if caller == "" {
		limit, who = s.failures, network(host(r.RemoteAddr))
	}
	var many *tooMany
	if errors.As(limit.take(who), &many) {
		return many.after
	}
	return 0
}

// guard wraps all routes: request id, headers of every answer, body limit,
// and a panic in one request ends that request only.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seenFrom(r)
		h := w.Header()
		h.Set(api.HeaderRequestID, rand.Text())
		h.Set("Date", s.Tokens.Time().UTC().Format(http.TimeFormat)) // clients go by it
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if len(r.TransferEncoding) > 0 {
			// net/http accepts a Content-Length beside it; whoever sits in
			// front of us may have counted by that (RFC 9112 §6.1).
			h.Set("Connection", "close")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		rec := &recorder{ResponseWriter: w}
		if s.Observe != nil {
			began := time.Now()
			w = rec
			defer func() { s.Observe(r.Pattern, known(r.Method), max(rec.status, http.StatusOK), time.Since(began)) }()
		}
		defer func() {
			if p := recover(); p != nil {
				s.log().Error("panic in a request", "request", h.Get(api.HeaderRequestID), "path", r.URL.Path,
					"panic", p, "stack", string(debug.Stack()))
				write(w, http.StatusInternalServerError, second(api.Answer(api.ErrInternal)))
			}
		}()
		leave, ok := s.flight.enter(r)
		if !ok {
			s.overloaded(w, r)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
		sent(w, r)
	})
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// known bounds the methods that metrics tell apart.
func known(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// refuse turns err into an answer and, if it is our fault, logs it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := api.Answer(translate(err))
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		wait := retryAfter
		var many *tooMany
		if errors.As(err, &many) {
			wait = many.after
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	level := slog.LevelDebug
	gone := r.Context().Err() != nil // the client is: what failed then says nothing about us
	if status >= http.StatusInternalServerError && !gone && !errors.Is(err, rotate.ErrNoKeyReady) {
		level = slog.LevelError
	}
	s.log().Log(r.Context(), level, "request refused", "request", w.Header().Get(api.HeaderRequestID),
		"path", r.URL.Path, "status", status, "code", body.Code, "err", err)
	write(w, status, body)
}

// translate maps the errors of what is behind the server to those of the API.
// What is left over is not the caller's fault: 503, because it may pass.
func translate(err error) error {
	var bad *api.BadRequest
	switch {
	case errors.As(err, &bad), errors.Is(err, api.ErrForbidden), errors.Is(err, api.ErrUnauthorized),
		errors.Is(err, api.ErrNotAllowed), errors.Is(err, api.ErrNotFound), errors.Is(err, api.ErrMethod),
		errors.Is(err, api.ErrTooLarge), errors.Is(err, api.ErrTooMany):
		return err
	case errors.Is(err, auth.ErrBadKey):
		return api.ErrForbidden
	case errors.Is(err, auth.ErrBadToken):
		return api.ErrUnauthorized
	case errors.Is(err, rotate.ErrNotFound):
		return api.ErrUnknownUser
	case errors.Is(err, rotate.ErrNoKeyReady):
		return api.ErrNoKeyReady
	}
	return api.ErrUnavailable
}

func write(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	raw, err := json.Marshal(body)
	if err != nil { // unreachable: all bodies are plain structs
		status, raw = http.StatusInternalServerError, []byte(`{"message":"Internal Server Error","code":"internal"}`)
	}
	send(w, status, jsonType, append(raw, '\n'))
}

func send(w http.ResponseWriter, status int, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

// open lets everybody in.
func (*Server) open(*http.Request) (auth.Key, error) { return auth.Key{}, nil }

func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

func second[A, B any](_ A, b B) B { return b }
