package page_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
)

func TestCookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.viewer)
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" {
		t.Errorf("cookie = %s, want HttpOnly, SameSite=Strict and not Secure without TLS", c)
	}
	w.page.Secure = true
	if c := w.login(t, w.operator); !c.Secure || c.Name != "__Host-keyrot" {
		t.Errorf("cookie = %s, want Secure and the __Host- prefix with TLS", c)
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *world, *http.Cookie){
		"its key is revoked": func(t *testing.T, w *world, _ *http.Cookie) {
			if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
				t.Fatal(err)
			}
		},
		"twelve hours have passed": func(_ *testing.T, w *world, _ *http.Cookie) { w.move(12 * time.Hour) },
		"somebody logs out": func(t *testing.T, w *world, c *http.Cookie) {
			w.post(t, "/logout", nil, func(r *http.Request) { r.AddCookie(c) })
		},
		"its key has another secret": func(t *testing.T, w *world, _ *http.Cookie) { w.rotate(t, 0) },
		"its secret's overlap is over": func(t *testing.T, w *world, c *http.Cookie) {
			w.rotate(t, time.Hour)
			if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
				t.Fatalf("GET / within the overlap = %d, want 200", rec.Code)
			}
			w.move(time.Hour)
		},
		"its key opens 32 more": func(t *testing.T, w *world, _ *http.Cookie) {
			w.move(time.Second)
			for range 32 {
				w.login(t, w.viewer)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.login(t, w.viewer)
			if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
				t.Fatalf("GET / = %d, want 200", rec.Code)
			}
			end(t, w, c)
			if rec := w.get(t, "/", c); rec.Code != http.StatusSeeOther {
				t.Errorf("GET / afterwards = %d, want 303 to the login", rec.Code)
			}
		})
	}
}

// rotate gives the viewer another secret.
func (w *world) rotate(t *testing.T, overlap time.Duration) {
	t.Helper()
	if _, _, err := w.keys.Rotate(t.Context(), w.viewerID, overlap); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyEndsOthersSessions: however often a caller logs in, and with how
// many API keys, it ends its own sessions only.
func TestNobodyEndsOthersSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login(t, w.viewer)
	w.move(time.Second)
	for range 40 { // more than are kept of all callers together
		many, _, err := w.keys.Create(t.Context(), auth.Key{Role: auth.Viewer})
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			w.login(t, many)
		}
	}
	if rec := w.get(t, "/", c); rec.Code != http.StatusOK {
		t.Errorf("GET / after 1600 log-ins of others = %d, want 200", rec.Code)
	}
}

func TestLinkWorksOnceAndSoon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	used, old, revoked := w.page.Link(w.viewerKey), w.page.Link(w.viewerKey), w.page.Link(w.viewerKey)
	if rec := w.get(t, used); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/" {
		t.Errorf("GET of a link = %d to %q, want 303 to /", rec.Code, rec.Header().Get("Location"))
	}
	if rec := w.get(t, used); rec.Code != http.StatusForbidden {
		t.Errorf("GET of a used link = %d, want 403", rec.Code)
	}
	w.move(10 * time.Minute)
	if rec := w.get(t, old); rec.Code != http.StatusForbidden {
		t.Errorf("GET of an old link = %d, want 403", rec.Code)
	}
	w.move(-10 * time.Minute)
	if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
		t.Fatal(err)
	}
	if rec := w.get(t, revoked); rec.Code != http.StatusForbidden {
		t.Errorf("GET of a revoked key's link = %d, want 403", rec.Code)
	}
}
