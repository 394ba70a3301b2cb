package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func brief(s string) string { return s[:min(len(s), 200)] }

// listen opens a stream of the first page and returns its messages.
func listen(t *testing.T, ctx context.Context, srv *httptest.Server, c *http.Cookie) (next func() (event, data string), status int) {
	t.Helper()
	return listenAt(t, ctx, srv, c, "/events")
}

func listenAt(t *testing.T, ctx context.Context, srv *httptest.Server, c *http.Cookie, path string) (next func() (event, data string), status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(c)
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	in := bufio.NewScanner(res.Body)
	in.Buffer(nil, 1<<20)
	return func() (event, data string) {
		for in.Scan() {
			switch name, value, _ := strings.Cut(in.Text(), ": "); name {
			case "event":
				event = value
			case "data":
				return event, value
			}
		}
		return "end", ""
	}, res.StatusCode
}

func TestStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	next, _ := listen(t, t.Context(), srv, w.login(t, w.viewer))
	event, data := next()
	var c struct {
		Parts, Items map[string]string
		Orders       map[string][]string
	}
	if err := json.Unmarshal([]byte(data), &c); err != nil || event != "change" || len(c.Items) != 2 || len(c.Orders["users"]) != 2 || !strings.Contains(c.Parts["banner"], "All keys rotate on time") {
		t.Fatalf("first message = %s %s (%v), want all of the page", event, brief(data), err)
	}
	w.add(t, entry("late-comer"))
	w.move(10 * time.Second) // a list may have been slow
	event, data = next()
	if event != "change" || !strings.Contains(data, "late-comer") || strings.Contains(data, secret) {
		t.Errorf("next message = %s %s, want the new user", event, brief(data))
	}
	if err := w.keys.Revoke(t.Context(), w.viewerID); err != nil {
		t.Fatal(err)
	}
	for event != "bye" && event != "end" {
		event, _ = next()
	}
	if event != "bye" {
		t.Errorf("after the key was revoked the stream's last message = %s, want bye", event)
	}
	if event, _ := next(); event != "end" {
		t.Errorf("after bye comes %s, want the end", event)
	}
}

// TestStreamEndsWithItsSecret: no new secret, no further message.
func TestStreamEndsWithItsSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	next, _ := listen(t, t.Context(), srv, w.login(t, w.viewer))
	event, _ := next()
	w.rotate(t, 0)
	for event != "bye" && event != "end" {
		event, _ = next()
	}
	if event != "bye" {
		t.Errorf("after the key was rotated the stream's last message = %s, want bye", event)
	}
}

func TestStreamsAreBoundedByKeyAndStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewServer(w.h)
	t.Cleanup(srv.Close)
	var open []func() (string, string)
	for range 16 {
		next, status := listen(t, t.Context(), srv, w.login(t, w.viewer))
		if status != http.StatusOK {
			t.Fatalf("GET /events = %d, want 200", status)
		}
		open = append(open, next)
	}
	if _, status := listen(t, t.Context(), srv, w.login(t, w.viewer)); status != http.StatusServiceUnavailable {
		t.Errorf("one stream more = %d, want 503", status)
	}
	if _, status := listen(t, t.Context(), srv, w.login(t, w.operator)); status != http.StatusOK {
		t.Errorf("a stream of another key = %d, want 200", status)
	}
	w.page.Stop()
	for _, next := range open {
		event := ""
		for event != "end" {
			event, _ = next()
		}
	}
}
