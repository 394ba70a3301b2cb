package page

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

// Bounds on sessions.
const (
	sessionTime = 12 * time.Hour
	linkTime    = 10 * time.Minute
	maxSessions = 1024
	keySessions = 32 // of one API key
	maxLinks    = 16
)

// digest stands for a random id, so that memory does not hold what the
// browser has, and look-ups take the same time for any guess.
type digest [sha256.Size]byte

func digestOf(id string) digest { return sha256.Sum256([]byte(id)) }

// session is somebody who is logged in: with an API key that is looked up at
// every request. It ends with the secret that opened it.
type session struct {
	key   string // API key id
	mark  string // of its secret, see auth.Key.Mark
	began time.Time
}

// sessions keeps who is logged in. They end with the process.
type sessions struct {
	mu    sync.Mutex
	by    map[digest]session
	links map[digest]session // one-time links
}

// open begins a session for the secret of an API key and returns its cookie's
// value. A key that has too many loses its own oldest; if all together are too
// many, the key that has the most does.
func (s *sessions) open(key, mark string, now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[digest]session{}
	}
	number, most := map[string]int{}, key
	for _, one := range s.by {
		if number[one.key]++; number[one.key] > number[most] {
			most = one.key
		}
	}
	switch {
	case number[key] >= keySessions:
		s.dropOldest(key)
	case len(s.by) >= maxSessions:
		s.dropOldest(most)
	}
	s.by[digestOf(id)] = session{key: key, mark: mark, began: now}
	return id
}

func (s *sessions) dropOldest(key string) {
	var oldest digest
	var began time.Time
	for d, one := range s.by {
		if one.key == key && (began.IsZero() || one.began.Before(began)) {
			oldest, began = d, one.began
		}
	}
	delete(s.by, oldest)
}

// find returns the session of a cookie's value.
func (s *sessions) find(id string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(id)
	one, ok := s.by[d]
	if age := now.Sub(one.began); !ok || age < 0 || age >= sessionTime {
		delete(s.by, d)
		return session{}, false
	}
	return one, true
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, digestOf(id))
}

// link makes a one-time id.
func (s *sessions) link(key, mark string, now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil || len(s.links) >= maxLinks {
		s.links = map[digest]session{}
	}
	s.links[digestOf(id)] = session{key: key, mark: mark, began: now}
	return id
}

// use returns what a one-time id was made for, once.
func (s *sessions) use(id string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(id)
	one, ok := s.links[d]
	delete(s.links, d)
	age := now.Sub(one.began)
	return one, ok && age >= 0 && age < linkTime
}

// Link returns the path of a link that logs in as the API key, by the secret
// that it has now: once, and within 10 minutes.
func (p *Page) Link(k auth.Key) string {
	return pathLogin + "?once=" + p.sessions.link(k.ID, k.Mark(), p.now())
}

// cookie makes the session's cookie; an empty id takes it away.
func (p *Page) cookie(id string) *http.Cookie {
	c := &http.Cookie{
		Name: p.cookieName(), Value: id, Path: "/", MaxAge: int(sessionTime / time.Second),
		Secure: p.Secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if id == "" {
		c.MaxAge = -1
	}
	return c
}

// cookieName is one that browsers accept from this host over TLS only, where
// there is TLS.
func (p *Page) cookieName() string {
	if p.Secure {
		return "__Host-keyrot"
	}
	return "keyrot"
}

// who returns the session's API key. ok is false for nobody, also when the key
// was revoked, has expired or has another secret since.
func (p *Page) who(r *http.Request) (key auth.Key, ok bool, err error) {
	c, missing := r.Cookie(p.cookieName())
	if missing != nil {
		return key, false, nil
	}
	s, ok := p.sessions.find(c.Value, p.now())
	if !ok {
		return key, false, nil
	}
	return p.good(r, s)
}
