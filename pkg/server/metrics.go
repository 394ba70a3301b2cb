package server

import (
	"net/http"
	"strings"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/auth"
)

// metrics judges who asks and leaves the answer to s.Metrics.
func (s *Server) metrics() http.Handler {
	who := s.withViewer
	if s.MetricsOpen {
		who = s.open
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			s.route(http.MethodGet, s.open, nil).ServeHTTP(w, r)
			return
		}
		if _, err := s.admit(r, who); err != nil {
			s.refuse(w, r, err)
			return
		}
		s.Metrics.ServeHTTP(w, r)
	})
}

// withViewer asks for an API key of any role, in its own header or, because
// scrapers can send that, as a bearer token.
func (s *Server) withViewer(r *http.Request) (auth.Key, error) {
	if len(r.Header.Values(api.HeaderAPIKey)) > 0 {
		return s.withKey(r)
	}
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return auth.Key{}, api.ErrForbidden
	}
	scheme, key, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return auth.Key{}, api.ErrForbidden
	}
	k, err := s.Keys.Check(r.Context(), key)
	if err == nil && !k.Role.Includes(auth.Viewer) {
		err = api.ErrForbidden
	}
	return k, err
}
