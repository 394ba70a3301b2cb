package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

// Bounds on streams.
const (
	maxStreams   = 128
	keyStreams   = 16 // of one API key
	streamEvery  = time.Second
	heartbeat    = 10 * time.Second // for proxies that close what is silent, and the script, which counts on it
	writeTimeout = 10 * time.Second
)

// streams counts who is connected, by API key, and ends them all.
type streams struct {
	mu   sync.Mutex
	n    int
	by   map[string]int
	stop chan struct{}
}

func (s *streams) begin(key string) (stop <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		s.stop = make(chan struct{})
	}
	if s.n >= maxStreams || s.by[key] >= keyStreams {
		return nil, false
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.n++
	s.by[key]++
	return s.stop, true
}

func (s *streams) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
	if s.by[key]--; s.by[key] == 0 {
		delete(s.by, key)
	}
}

// Stop ends all streams, so that a server that shuts down need not wait for
// them. Browsers come back by themselves.
func (p *Page) Stop() {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	if p.streams.stop != nil {
		close(p.streams.stop)
		p.streams.stop = nil
	}
}

// events answers GET /events: a stream of changes, until the client goes, its
// session ends or the server stops.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	key, ok, err := p.who(r)
	switch {
	case err != nil:
		http.Error(w, "the store cannot be read", http.StatusServiceUnavailable)
		return
	case !ok:
		http.Error(w, "log in at "+pathLogin, http.StatusUnauthorized)
		return
	case p.above(w, r, key):
		return
	}
	stop, ok := p.streams.begin(key.ID)
	if !ok {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many streams are open", http.StatusServiceUnavailable)
		return
	}
	defer p.streams.end(key.ID)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	values := r.URL.Query()
	s := &stream{p: p, w: w, rc: http.NewResponseController(w), query: queryOf(values)}
	if r.Header.Get("Last-Event-ID") == "" { // otherwise the page has changed since it was loaded
		s.have = stampsOf(values.Get("have"))
	}
	_ = s.rc.SetReadDeadline(time.Time{}) // nothing more is read: the server's limit is for requests
	s.run(r, key, stop)
}

// stream is one client that is told of changes.
type stream struct {
	p     *Page
	w     http.ResponseWriter
	rc    *http.ResponseController
	query Query
	seen  map[string]stamp // what was sent of each part, item and order
	have  map[stamp]bool   // what was there from the beginning
	last  time.Time        // something was sent
}

func (s *stream) run(r *http.Request, key auth.Key, stop <-chan struct{}) {
	if !s.send("retry: 2000\n\n") {
		return
	}
	t := time.NewTicker(streamEvery)
	defer t.Stop()
	for {
		if !s.step(r.Context(), key) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-stop:
			return
		case <-t.C:
		}
		now, ok, err := s.p.who(r)
		if err != nil {
			continue // the store is away: say nothing, end nothing
		}
		if !ok {
			s.send("event: bye\ndata: {}\n\n")
			return
		}
		key = now
	}
}

// step sends what has changed. It is false once the client is gone.
func (s *stream) step(ctx context.Context, key auth.Key) bool {
	v, err := s.p.view(ctx, key, s.query)
	if err != nil {
		return s.beat()
	}
	d := v.drawing()
	c := d.since(s.seen, s.have)
	s.seen, s.have = d.stamps, nil
	c.At = s.p.now().UnixMilli()
	event := "change"
	if c.empty() {
		if s.p.now().Sub(s.last) < heartbeat {
			return true
		}
		event = "beat" // all is as it was
	}
	var raw strings.Builder
	out := json.NewEncoder(&raw)
	out.SetEscapeHTML(false)              // it is no part of a page until the script makes it one
	if err := out.Encode(c); err != nil { // unreachable: strings only
		return false
	}
	return s.send(fmt.Sprintf("id: 1\nevent: %s\ndata: %s\n", event, raw.String())) // which ends the line
}

// beat keeps the connection open while nothing is known.
func (s *stream) beat() bool {
	if s.p.now().Sub(s.last) < heartbeat {
		return true
	}
	return s.send(": still here\n\n")
}

// send writes at once. A client that does not read is dropped.
func (s *stream) send(text string) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	s.last = s.p.now()
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	err := s.rc.Flush()
	_ = s.rc.SetWriteDeadline(time.Time{}) // HTTP/2 ends a stream whose deadline passes, also if nothing is written
	return err == nil
}
