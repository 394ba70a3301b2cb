package agent

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

const (
	viaHTTP   = "http"
	viaSocket = "socket"

	retryAfter      = 2 * time.Second
	headerTimeout   = 5 * time.Second
	answerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 3 * time.Second
	maxHeader       = 16 << 10 // bytes
)

// errForeign means that a request did not come from a program on this machine
// that wanted this agent.
var errForeign = errors.New("not for this address")

// Handler answers SDKs on a loopback address: GET /container-credentials/USER
// with the agent's token in Authorization, and GET /metrics.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathContainer+"{user}", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, r.PathValue("user"))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		a.metrics.write(w, func(user string) time.Time {
			c, _ := a.Credential(user)
			return c.Expiration
		})
	})
	return a.local(mux)
}

// Give returns the credential for a program that asked on the unix socket, and
// counts it. Errors: see [Agent.Credential].
func (a *Agent) Give(user string) (api.Credential, error) { return a.give(user, viaSocket) }

func (a *Agent) give(user, via string) (api.Credential, error) {
	c, err := a.Credential(user)
	switch {
	case err == nil:
		a.metrics.served(user, via)
	case slices.Contains(a.Users, user):
		a.metrics.refuse("no_credential")
	default:
		a.metrics.refuse("unknown_user")
	}
	return c, err
}

// local lets in what a program on this machine sends on purpose. A browser
// that was told that our address is some host's sends that host's name, and a
// proxy says for whom it asks.
func (a *Agent) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.Host)
		if err != nil {
			host, port = r.Host, ""
		}
		_, bound, _ := net.SplitHostPort(localAddr(r))
		foreign := !loopback(strings.Trim(host, "[]")) || port != "" && bound != "" && port != bound
		if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil && !loopback(peer) {
			foreign = true
		}
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-Ip", "Origin"} {
			foreign = foreign || len(r.Header.Values(name)) > 0
		}
		if foreign {
			a.metrics.refuse("foreign")
			write(w, http.StatusForbidden, api.Error{Message: "Forbidden: " + errForeign.Error(), Code: "forbidden"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *Agent) answer(w http.ResponseWriter, r *http.Request, user string) {
	want, err := a.Token()
	if err != nil {
		a.metrics.refuse("unauthorized")
		write(w, http.StatusServiceUnavailable, api.Error{Message: "The agent's token cannot be used; its log says why", Code: "unavailable"})
		return
	}
	if !authorized(r, want) {
		a.metrics.refuse("unauthorized")
		write(w, http.StatusUnauthorized, api.Error{Message: "Authorization does not hold the agent's token", Code: "unauthorized"})
		return
	}
	c, err := a.give(user, viaHTTP)
	switch {
	case err == nil:
		write(w, http.StatusOK, api.ContainerOf(c, r.UserAgent()))
	case !slices.Contains(a.Users, user):
		write(w, http.StatusNotFound, api.Error{Message: "This agent was not started for that user", Code: "unknown_user"})
	default: // whatever it is for the server: here it is an endpoint that has nothing right now
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		write(w, http.StatusServiceUnavailable, api.Error{Message: "No credential that works: " + err.Error(), Code: "no_key_ready"})
	}
}

// authorized compares in constant time. SDKs send the token as it is.
func authorized(r *http.Request, want string) bool {
	header := r.Header.Values("Authorization")
	return want != "" && len(header) == 1 && subtle.ConstantTimeCompare([]byte(header[0]), []byte(want)) == 1
}

func write(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil { // unreachable: all bodies are plain structs
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the client is gone: nobody to tell
}

// Serve answers on ln until ctx ends. It closes ln. A requested end is no
// error.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	hs := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
	}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if hs.Shutdown(grace) != nil {
		_ = hs.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func localAddr(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return ""
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
