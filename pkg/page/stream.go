package page

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

// Bounds on streams.
const (
	maxStreams   = 128
	keyStreams   = 16 // of one API key
	streamEvery  = time.Second
	heartbeat    = 15 * time.Second // for proxies that close what is silent
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

// change is one message of a stream: the fragments that are new, and which
// users' cards there are, in order.
type change struct {
	Parts map[string]string `json:"parts,omitempty"`
	Cards map[string]string `json:"cards,omitempty"`
	Order []string          `json:"order"`
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
	s := &stream{p: p, w: w, rc: http.NewResponseController(w), query: r.URL.Query().Get("q"), seen: map[string]uint64{}}
	_ = s.rc.SetReadDeadline(time.Time{}) // nothing more is read: the server's limit is for requests
	s.run(r, key, stop)
}

// stream is one client that is told of changes.
type stream struct {
	p     *Page
	w     http.ResponseWriter
	rc    *http.ResponseController
	query string
	seen  map[string]uint64 // hash of each fragment as it was sent
	order []string
	last  time.Time // something was sent
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
	c := s.changes(v)
	if c == nil {
		return s.beat()
	}
	raw, err := json.Marshal(c)
	if err != nil { // unreachable: strings only
		return false
	}
	return s.send(fmt.Sprintf("event: change\ndata: %s\n\n", raw))
}

func (s *stream) changes(v *view) *change {
	parts, cards := v.fragments()
	c := change{Parts: map[string]string{}, Cards: map[string]string{}}
	fresh := map[string]uint64{}
	take := func(from []fragment, to map[string]string) {
		for _, f := range from {
			html := render(f.node)
			h := fnv.New64a()
			_, _ = h.Write([]byte(html))
			if fresh[f.id] = h.Sum64(); fresh[f.id] != s.seen[f.id] {
				to[f.id] = html
			}
		}
	}
	take(parts, c.Parts)
	take(cards, c.Cards)
	for _, f := range cards {
		c.Order = append(c.Order, f.id)
	}
	same := len(c.Parts)+len(c.Cards) == 0 && len(fresh) == len(s.seen)
	s.seen = fresh
	if same && slices.Equal(c.Order, s.order) {
		return nil
	}
	s.order = c.Order
	return &c
}

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
