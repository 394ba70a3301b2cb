package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// Bounds on requests that are being answered. A connection costs some 80 kB;
// what it may do beside others is bounded here.
const (
	defRequests = 1024
	maxProbes   = 64 // of /healthz, /readyz and /livez, which other requests must not keep out
	maxForms    = 64 // bodies that are waited for
	formTimeout = 5 * time.Second
	sendTimeout = 5 * time.Second // for an answer that is ready
	warnEvery   = time.Minute
)

// flight bounds the requests that are being answered, so that whoever sends
// many at once takes neither the memory nor the time that others need.
type flight struct {
	work, probes, forms *tally

	mu      sync.Mutex
	refused int
	warned  time.Time
}

func newFlight(most int) *flight {
	if most <= 0 {
		most = defRequests
	}
	return &flight{work: newTally(most), probes: newTally(maxProbes), forms: newTally(maxForms)}
}

// enter admits a request, or says that there are too many.
func (f *flight) enter(r *http.Request) (leave func(), ok bool) {
	t, who := f.work, network(host(r.RemoteAddr))
	switch r.URL.Path {
	case api.PathHealth, api.PathReady, api.PathLive:
		t = f.probes
	}
	if !t.admit(who, false) {
		return nil, false
	}
	return func() { t.leave(who) }, true
}

// overloaded refuses a request above the limit. The answer has no body: a
// client that lets none through cannot make it wait.
func (s *Server) overloaded(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused++
	if now := s.now(); f.warned.IsZero() || now.Sub(f.warned).Abs() >= warnEvery {
		s.log().Warn("requests are refused because too many are being answered", "refused", f.refused, "last_from", host(r.RemoteAddr))
		f.warned, f.refused = now, 0
	}
}

// sent waits until the answer has left, for as long as the request counts.
// HTTP/1.1 buffers an answer of our size; a client of HTTP/2 says how much it
// takes, and it may say nothing.
func sent(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(sendTimeout)) // not all writers have one
	_ = rc.Flush()                                       // the client is gone: nobody to tell
}

// readAhead reads the form of a request before it is judged, because clients
// can take their time: for 5 s at most, and few at once.
func (s *Server) readAhead(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.ContentLength != 0 {
			who := network(host(r.RemoteAddr))
			if !s.flight.forms.admit(who, false) {
				s.overloaded(w, r)
				return
			}
			body, err := readForm(w, r)
			s.flight.forms.leave(who)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

func readForm(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTimeout)) // not all readers have one
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, api.ErrTooLarge
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, &api.BadRequest{Text: "the body did not come within " + strconv.Itoa(int(formTimeout/time.Second)) + " seconds"}
	}
	return body, nil
}
