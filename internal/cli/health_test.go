package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// TestReadyFromMemory: while the store cannot be read, an instance is ready if
// it can hand out what was promised, and in no case healthy.
func TestReadyFromMemory(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]bool{"a key was handed out": true, "nothing was": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _, _ := testEnv(t, nil)
			e.Now = time.Now
			cfg, err := e.loadValid(common{File: os.DevNull, Flags: map[string]any{"settle": "0s"}})
			if err != nil {
				t.Fatal(err)
			}
			fake := &rotatetest.AWS{}
			u := fake.AddUser("ci", "/", nil)
			s, err := open(t.Context(), e, cfg, cloud{IAM: fake, Clock: rotatetest.Clock(), Quick: true, Select: func(context.Context) ([]rotate.User, error) { return []rotate.User{u}, nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.close(context.Background()) }() // of which the store is closed
			if _, err := s.rotator.RunOnce(t.Context(), rotate.Options{Patience: time.Minute}); err != nil {
				t.Fatal(err)
			}
			if given {
				if _, err := s.server.Credentials.Give(t.Context(), "ci", rotate.Recipient{Caller: "app"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.store.Close(); err != nil {
				t.Fatal(err)
			}
			ready := http.StatusServiceUnavailable
			if given {
				ready = http.StatusOK
			}
			for route, want := range map[string]int{"/readyz": ready, "/healthz": http.StatusServiceUnavailable} {
				w := httptest.NewRecorder()
				s.server.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, route, nil))
				if w.Code != want {
					t.Errorf("GET %s = %d %s, want %d", route, w.Code, w.Body, want)
				}
			}
		})
	}
}
