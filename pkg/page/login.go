package page

import (
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

const (
	notAccepted = "This API key is not accepted."
	usedUp      = "This link was used already, or is too old. Log in with an API key instead."
)

// loginForm answers GET /login: the form, or what a one-time link asks for.
func (p *Page) loginForm(w http.ResponseWriter, r *http.Request) {
	if once := r.URL.Query().Get("once"); once != "" {
		p.loginOnce(w, r, once)
		return
	}
	if _, _, ok, err := p.who(r); err == nil && ok {
		http.Redirect(w, r, pathHome, http.StatusSeeOther)
		return
	}
	writePage(w, http.StatusOK, document("keyrot: log in", loginPage("")))
}

func (p *Page) loginOnce(w http.ResponseWriter, r *http.Request, once string) {
	keyID, ok := p.sessions.use(once, p.now())
	if ok {
		_, good, err := p.good(r, keyID)
		if err != nil {
			p.unavailable(w, r, err)
			return
		}
		ok = good
	}
	if !ok {
		p.refuse(w, r, usedUp)
		return
	}
	p.enter(w, r, keyID)
}

// login answers POST /login.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	key, err := p.Keys.Check(r.Context(), strings.TrimSpace(r.PostFormValue("key")))
	if err != nil && !errors.Is(err, auth.ErrBadKey) {
		p.unavailable(w, r, err)
		return
	}
	if err != nil || !key.Role.Includes(auth.Viewer) {
		p.refuse(w, r, notAccepted)
		return
	}
	p.enter(w, r, key.ID)
}

func (p *Page) enter(w http.ResponseWriter, r *http.Request, keyID string) {
	if old, err := r.Cookie(p.cookieName()); err == nil {
		p.sessions.end(old.Value)
	}
	http.SetCookie(w, p.cookie(p.sessions.open(keyID, p.now())))
	http.Redirect(w, r, pathHome, http.StatusSeeOther)
}

// logout answers POST /logout.
func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(p.cookieName()); err == nil {
		p.sessions.end(c.Value)
	}
	http.SetCookie(w, p.cookie(""))
	http.Redirect(w, r, pathLogin, http.StatusSeeOther)
}

// refuse answers a failed attempt; an address that fails too often is told to
// wait. Who has a good key gets in all the same: nobody can lock others out.
func (p *Page) refuse(w http.ResponseWriter, r *http.Request, why string) {
	status := http.StatusForbidden
	if wait := p.failures().Wait(host(r)); wait > 0 {
		seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
		w.Header().Set("Retry-After", seconds)
		status, why = http.StatusTooManyRequests, "Too many failed attempts from your address. Try again in "+seconds+" seconds."
	}
	p.failures().Failed(host(r))
	writePage(w, status, document("keyrot: log in", loginPage(why)))
}

func (p *Page) failures() Failures {
	if p.Failure != nil {
		return p.Failure
	}
	return &p.guesses
}

func host(r *http.Request) string {
	if h, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return h
	}
	return r.RemoteAddr
}

// Bounds on guessing.
const (
	maxFailures = 10
	failureTime = time.Minute
	maxAddrs    = 4096
)

// guesses counts the failures of addresses within a minute.
type guesses struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[string]count
}

type count struct {
	n     int
	since time.Time
}

// Wait implements [Failures].
func (g *guesses) Wait(addr string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.by[network(addr)]
	if c.n < maxFailures {
		return 0
	}
	return max(0, c.since.Add(failureTime).Sub(g.now()))
}

// Failed implements [Failures].
func (g *guesses) Failed(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if len(g.by) >= maxAddrs {
		for a, c := range g.by {
			if now.Sub(c.since) >= failureTime {
				delete(g.by, a)
			}
		}
	}
	if g.by == nil || len(g.by) >= maxAddrs {
		g.by = map[string]count{}
	}
	addr = network(addr)
	c := g.by[addr]
	if now.Sub(c.since) >= failureTime {
		c = count{since: now}
	}
	c.n++
	g.by[addr] = c
}

// network is what one client may have: an IPv4 address, or an IPv6 /64.
func network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Unmap().Is6() {
		return addr
	}
	n, _ := a.WithZone("").Prefix(64) // 64 fits any IPv6 address
	return n.String()
}
