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
	maxSessions = 1024 // the oldest go first
	maxLinks    = 16
)

// digest stands for a random id, so that memory does not hold what the
// browser has, and look-ups take the same time for any guess.
type digest [sha256.Size]byte

func digestOf(id string) digest { return sha256.Sum256([]byte(id)) }

// session is somebody who is logged in: with an API key that is looked up at
// every request.
type session struct {
	key     string // API key id
	began   time.Time
	streams int
}

// sessions keeps who is logged in. They end with the process.
type sessions struct {
	mu    sync.Mutex
	by    map[digest]*session
	links map[digest]session // one-time links
}

// open begins a session for the API key and returns its cookie's value.
func (s *sessions) open(key string, now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[digest]*session{}
	}
	if len(s.by) >= maxSessions {
		var oldest digest
		first := true
		for d, one := range s.by {
			if first || one.began.Before(s.by[oldest].began) {
				oldest, first = d, false
			}
		}
		delete(s.by, oldest)
	}
	s.by[digestOf(id)] = &session{key: key, began: now}
	return id
}

// find returns the API key id of the session.
func (s *sessions) find(id string, now time.Time) (key string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(id)
	one := s.by[d]
	if one == nil {
		return "", false
	}
	if age := now.Sub(one.began); age < 0 || age >= sessionTime {
		delete(s.by, d)
		return "", false
	}
	return one.key, true
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, digestOf(id))
}

// stream counts a stream of the session, if it may have another.
func (s *sessions) stream(id string, most int) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.by[digestOf(id)]
	if one == nil || one.streams >= most {
		return nil, false
	}
	one.streams++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.streams--
	}, true
}

// link makes a one-time id.
func (s *sessions) link(key string, now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil || len(s.links) >= maxLinks {
		s.links = map[digest]session{}
	}
	s.links[digestOf(id)] = session{key: key, began: now}
	return id
}

// use returns the API key id of a one-time id, once.
func (s *sessions) use(id string, now time.Time) (key string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(id)
	one, ok := s.links[d]
	delete(s.links, d)
	age := now.Sub(one.began)
	return one.key, ok && age >= 0 && age < linkTime
}

// Link returns the path of a link that logs in as the API key of that id:
// once, and within 10 minutes.
func (p *Page) Link(keyID string) string {
	return pathLogin + "?once=" + p.sessions.link(keyID, p.now())
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

// who returns the session's id and its API key. ok is false for nobody, also
// when the key was revoked or has expired since.
func (p *Page) who(r *http.Request) (id string, key auth.Key, ok bool, err error) {
	c, missing := r.Cookie(p.cookieName())
	if missing != nil {
		return "", key, false, nil
	}
	keyID, ok := p.sessions.find(c.Value, p.now())
	if !ok {
		return "", key, false, nil
	}
	key, ok, err = p.good(r, keyID)
	return c.Value, key, ok, err
}
