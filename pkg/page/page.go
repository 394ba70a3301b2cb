package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keyrot/keyrot/internal/printable"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/templates/web"
)

// The paths.
const (
	pathHome   = "/"
	pathLogin  = "/login"
	pathLogout = "/logout"
	pathEvents = "/events"
	pathStatus = "/status.json"
	pathCSS    = "/assets/app.css"
	pathJS     = "/assets/app.js"
	pathIcon   = "/assets/icon.svg"
)

// Page is the status page. Its fields must not change once it serves.
type Page struct {
	Roster  *rotate.Roster // of all users
	Policy  func(user string) plan.Policy
	Keys    *auth.Keys
	History *History
	Now     func() time.Time // default time.Now
	Log     *slog.Logger     // default: discards
	Secure  bool             // browsers come over TLS
	// Charge counts a request against the limit of the API key of that id or,
	// if it is empty, a refused credential against that of the client's
	// address. It returns how long to wait; 0: go on. Safe for concurrent use.
	// Default: the limits of the server that the page is mounted at.
	Charge func(r *http.Request, keyID string) time.Duration

	sessions sessions
	streams  streams
	built    shared
}

// Caller is somebody who has an API key.
type Caller struct {
	ID    string    `json:"id"`
	Name  string    `json:"name,omitempty"`
	Role  auth.Role `json:"role"`
	Users []string  `json:"users"` // patterns of who it may read
	State string    `json:"state"` // good, expired or revoked
	Last  time.Time `json:"last,omitzero"`
}

// Handler returns the page as a handler for [Patterns].
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathHome+"{$}", p.home)
	mux.HandleFunc("GET "+pathLogin, p.loginForm)
	mux.HandleFunc("POST "+pathLogin, p.login)
	mux.HandleFunc("POST "+pathLogout, p.logout)
	mux.HandleFunc("GET "+pathStatus, p.status)
	mux.HandleFunc("GET "+pathEvents, p.events)
	mux.Handle("GET "+pathCSS, asset("text/css; charset=utf-8", web.CSS))
	mux.Handle("GET "+pathJS, asset("text/javascript; charset=utf-8", web.JS))
	mux.Handle("GET "+pathIcon, asset("image/svg+xml", web.Icon))
	return headers(http.NewCrossOriginProtection().Handler(mux))
}

// Patterns are what to mount the page at, beside the routes of an API.
func (*Page) Patterns() []string {
	return []string{pathHome + "{$}", pathLogin, pathLogout, pathStatus, pathEvents, "/assets/"}
}

// policy lets the page load nothing but its own files, run nothing else, and
// be framed by nobody.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types keyrot"

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // without any, browsers hide the origin that CSRF protection compares
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// home answers GET /.
func (p *Page) home(w http.ResponseWriter, r *http.Request) {
	key, ok, err := p.who(r)
	if err == nil && !ok {
		http.Redirect(w, r, pathLogin, http.StatusSeeOther)
		return
	}
	if err == nil && p.above(w, r, key) {
		return
	}
	var v *view
	if err == nil {
		v, err = p.view(r.Context(), key, queryOf(r.URL.Query()))
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	writePage(w, r, http.StatusOK, document("keyrot: "+v.Headline, group{head(v), v.body(p.now())}))
}

// Answer is what GET /status.json answers: [Status] with the users of one page.
type Answer struct {
	Status
	Matched int `json:"matched"` // users on all pages
	Page    int `json:"page"`    // from 1
	Pages   int `json:"pages"`
}

// status answers GET /status.json.
func (p *Page) status(w http.ResponseWriter, r *http.Request) {
	key, ok, err := p.who(r)
	if err == nil && !ok {
		http.Error(w, "log in at "+pathLogin, http.StatusUnauthorized)
		return
	}
	if err == nil && p.above(w, r, key) {
		return
	}
	values := r.URL.Query()
	if _, err := ParseGroup(values.Get("state")); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var v *view
	if err == nil {
		v, err = p.view(r.Context(), key, queryOf(values))
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	var body bytes.Buffer
	a := Answer{v.Status, v.found.Matched, v.found.Page, v.found.Pages}
	if err := json.NewEncoder(printable.Writer{Writer: &body}).Encode(a); err != nil { // unreachable: plain data
		p.unavailable(w, r, err)
		return
	}
	send(w, r, http.StatusOK, "application/json", body.Bytes())
}

func (p *Page) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		p.log().Error("the status page cannot be shown", "err", err)
	}
	w.Header().Set("Retry-After", "5")
	writePage(w, r, http.StatusServiceUnavailable, document("keyrot", notice("keyrot cannot read its store",
		"Rotation and hand-outs may be affected. The log of the server says more. This page works again when the store does.")))
}

func writePage(w http.ResponseWriter, r *http.Request, status int, n node) {
	send(w, r, status, "text/html; charset=utf-8", []byte("<!doctype html>"+render(n)))
}

// above reports whether the key is above its limit of requests, and then has
// answered so.
func (p *Page) above(w http.ResponseWriter, r *http.Request, k auth.Key) bool {
	wait := p.charge(r, k.ID)
	if wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		http.Error(w, "this API key makes too many requests", http.StatusTooManyRequests)
	}
	return wait > 0
}

func (p *Page) charge(r *http.Request, keyID string) time.Duration {
	if p.Charge == nil {
		return 0
	}
	return p.Charge(r, keyID)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// good looks up the API key of a session. It may look at the page if it has a
// role and the secret that opened the session is still one of its own.
func (p *Page) good(r *http.Request, s session) (auth.Key, bool, error) {
	k, err := p.Keys.ByID(r.Context(), s.key)
	if errors.Is(err, auth.ErrNoSuchKey) {
		return k, false, nil
	}
	return k, err == nil && k.GoodFor(s.mark, p.now()) && k.Role.Includes(auth.Viewer), err
}

func (p *Page) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

func (p *Page) log() *slog.Logger {
	if p.Log != nil {
		return p.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (p *Page) callers(ctx context.Context, now time.Time) ([]Caller, error) {
	stored, err := p.Keys.List(ctx)
	switch {
	case err != nil && len(stored) == 0:
		return nil, err
	case err != nil:
		p.log().Debug("some API keys cannot be read", "err", err)
	}
	var out []Caller
	for _, k := range append(slices.Clone(p.Keys.Fixed), stored...) {
		state := "good"
		switch {
		case !k.Revoked.IsZero():
			state = "revoked"
		case !k.Good(now):
			state = "expired"
		}
		out = append(out, Caller{ID: k.ID, Name: k.Name, Role: k.Role, Users: k.Users, State: state})
	}
	return out, nil
}
