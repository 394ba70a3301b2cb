package page

import (
	"errors"
	"net/http"
	"strings"

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
	if _, ok, err := p.who(r); err == nil && ok {
		http.Redirect(w, r, pathHome, http.StatusSeeOther)
		return
	}
	writePage(w, r, http.StatusOK, document("keyrot: log in", loginPage("")))
}

func (p *Page) loginOnce(w http.ResponseWriter, r *http.Request, once string) {
	link, ok := p.sessions.use(once, p.now())
	var key auth.Key
	if ok {
		k, good, err := p.good(r, link)
		if err != nil {
			p.unavailable(w, r, err)
			return
		}
		key, ok = k, good
	}
	if !ok {
		p.refuse(w, r, usedUp)
		return
	}
	p.enter(w, r, key, link.mark)
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
	p.enter(w, r, key, key.Mark())
}

// enter opens a session for the key, by the secret of that mark.
func (p *Page) enter(w http.ResponseWriter, r *http.Request, key auth.Key, mark string) {
	if p.above(w, r, key) {
		return
	}
	if old, err := r.Cookie(p.cookieName()); err == nil {
		p.sessions.end(old.Value)
	}
	http.SetCookie(w, p.cookie(p.sessions.open(key.ID, mark, p.now())))
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

// refuse answers a failed attempt, which counts against the client's address.
// A good key gets in all the same: nobody can lock others out.
func (p *Page) refuse(w http.ResponseWriter, r *http.Request, why string) {
	status := http.StatusForbidden
	if wait := p.charge(r, ""); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		status, why = http.StatusTooManyRequests, "Too many failed attempts from your address. Try again in "+seconds(wait)+" seconds."
	}
	writePage(w, r, status, document("keyrot: log in", loginPage(why)))
}
