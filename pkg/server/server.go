package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/page"
)

// Limits on what a client may cost us.
const (
	maxBody         = 4 << 10  // bytes; no route reads more than nothing
	maxHeader       = 12 << 10 // bytes; the longest proof has 8 KiB
	maxStreams      = 10       // of one HTTP/2 connection
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	answerTimeout   = 20 * time.Second // from the request's last byte to the answer's
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 10 * time.Second // for answers in flight
)

// retryAfter is what a client is told to wait when no key is ready.
const retryAfter = 5 * time.Second

// Server serves the API. Its fields must not change once it serves.
type Server struct {
	Keys        *auth.Keys
	Tokens      *auth.Tokens
	Identities  Identities // nil: every caller needs an API key
	Credentials Dispenser
	Health      Health
	Log         *slog.Logger // default: discards
	TLS         *tls.Config  // nil: plain HTTP
	Page        *page.Page   // nil: no status page
	Limits      Limits
	Proxies     []netip.Prefix // whose X-Forwarded-For is believed; default none
	// Now is the clock of the limits. They measure time within the process only
	// and compare nothing with what is stored, so it is best the default,
	// time.Now, whose monotonic reading no setting of the clock changes.
	Now func() time.Time

	// Metrics answers GET /metrics for a caller that may see these users.
	// Default none: no such route.
	Metrics func(sees func(user string) bool) http.Handler
	// MetricsOpen lets everybody read them. Default: API keys of role viewer.
	MetricsOpen bool
	// Observe is called after every request. route is the pattern that
	// matched, never the path. Default: not called.
	Observe func(route, method string, status int, took time.Duration)

	once     sync.Once
	callers  *buckets
	failures *buckets
	flight   *flight
	ready    ready
}

func (s *Server) init() {
	s.once.Do(func() {
		s.callers = newBuckets(s.Limits.Caller, defCallerRate, 2, s.now)
		s.failures = newBuckets(s.Limits.Failures, defFailureRate, 10, s.now)
		s.flight = newFlight(s.Limits.Requests)
	})
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// Handler returns the API as a handler.
func (s *Server) Handler() http.Handler {
	s.init()
	mux := http.NewServeMux()
	mux.Handle(api.PathToken, s.route(post, s.withProof, s.token))
	mux.Handle(api.PathActiveKey, s.route(get, s.withToken, s.activeKey))
	mux.Handle(api.PathContainer+"{user}", s.route(get, s.withAuthorization, s.container))
	mux.Handle(api.PathHealth, s.route(look, s.open, s.healthz))
	mux.Handle(api.PathReady, s.route(look, s.open, s.readyz))
	mux.Handle(api.PathLive, s.route(look, s.open, s.livez))
	mux.Handle(api.PathOpenAPI, s.route(look, s.open, func(context.Context, request) (answer, error) {
		return answer{raw: api.OpenAPI(), media: "application/yaml"}, nil
	}))
	if s.Metrics != nil {
		mux.Handle(api.PathMetrics, s.metrics())
	}
	mux.Handle("/", s.route(nil, s.open, func(context.Context, request) (answer, error) {
		return answer{}, api.ErrNotFound
	}))
	if s.Page != nil {
		if s.Page.Charge == nil {
			s.Page.Charge = s.charge
		}
		pages := s.readAhead(s.Page.Handler())
		for _, pattern := range s.Page.Patterns() {
			mux.Handle(pattern, pages)
		}
	}
	return s.guard(mux)
}

// Serve answers requests on ln until ctx ends, then lets those in flight
// finish, for at most 10 s. It closes ln. A requested end is no error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	hs := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         s.TLS,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log().Handler(), slog.LevelDebug), // handshake noise of port scanners
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, WriteByteTimeout: sendTimeout,
			// The least that there is: hardly anything is sent to us.
			MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 2 * maxBody,
		},
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	if s.Page != nil {
		hs.RegisterOnShutdown(s.Page.Stop) // its streams would keep us waiting
	}
	ln = limitConns(ln, s.Limits.Connections, s.trusts)
	done := make(chan error, 1)
	go func() {
		if s.TLS != nil {
			done <- hs.ServeTLS(ln, "", "")
			return
		}
		done <- hs.Serve(ln)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := hs.Shutdown(grace)
	if err != nil {
		s.log().Warn("connections were cut off", "err", err)
		err = hs.Close() // they had their time: that is no failure
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}
