package server

import (
	"net/http"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
)

// metrics authenticates the caller; s.Metrics answers, with the users that the
// caller may see.
func (s *Server) metrics() http.Handler {
	who := s.withViewer
	if s.MetricsOpen {
		who = s.open
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			s.route(get, s.open, nil).ServeHTTP(w, r)
			return
		}
		caller, err := s.admit(r, who)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		sees := caller.Sees
		if s.MetricsOpen {
			sees = func(string) bool { return true }
		}
		s.Metrics(sees).ServeHTTP(w, r)
	})
}

// withViewer asks for an API key of any role, in its own header or, because
// scrapers can send that, as a bearer token.
func (s *Server) withViewer(r *http.Request) (auth.Key, error) {
	var k auth.Key
	var err error
	if len(r.Header.Values(api.HeaderAPIKey)) > 0 {
		k, err = s.withKey(r)
	} else if bearer, ok := bearerOf(r); ok {
		k, err = s.Keys.Check(r.Context(), bearer)
	} else {
		err = api.ErrForbidden
	}
	if err == nil && !k.Role.Includes(auth.Viewer) {
		err = api.ErrForbidden
	}
	return k, err
}
