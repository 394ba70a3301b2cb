package server_test

import (
	"net/http"
	"testing"
	"time"
)

func TestMetricsRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var sees func(string) bool
	w.srv.Metrics = func(s func(string) bool) http.Handler {
		sees = s
		return http.HandlerFunc(func(res http.ResponseWriter, _ *http.Request) { _, _ = res.Write([]byte("keyrot_x 1\n")) })
	}
	w.h = w.rebuild().Handler()
	for _, tc := range []struct {
		name, method string
		header       []string
		want         int
	}{
		{"nobody", "GET", nil, 403},
		{"a bad key", "GET", []string{"X-Api-Key", "x"}, 403},
		{"a bad bearer", "GET", []string{"Authorization", "Bearer x"}, 403},
		{"a token", "GET", []string{"Authorization", "Bearer " + w.token}, 403},
		{"basic", "GET", []string{"Authorization", "Basic " + w.viewer}, 403},
		{"a viewer", "GET", []string{"X-Api-Key", w.viewer}, 200},
		{"a scraper", "GET", []string{"Authorization", "Bearer " + w.viewer}, 200},
		{"POST", "POST", []string{"X-Api-Key", w.viewer}, 405},
	} {
		if res := w.do(t, tc.method, "/metrics", tc.header...); res.Code != tc.want {
			t.Errorf("%s: %s /metrics = %d %s, want %d", tc.name, tc.method, res.Code, res.Body, tc.want)
		}
	}
	if w.do(t, "GET", "/metrics", "X-Api-Key", w.ciOnly); !sees("ci") || sees("app") {
		t.Errorf("GET /metrics of a caller for ci shows ci: %t, app: %t, want ci only", sees("ci"), sees("app"))
	}
	if w.do(t, "GET", "/metrics", "X-Api-Key", w.viewer); !sees("app") {
		t.Error("GET /metrics of a viewer of all hides app")
	}
	w.srv.MetricsOpen = true
	w.h = w.rebuild().Handler()
	if res := w.do(t, "GET", "/metrics"); res.Code != 200 {
		t.Errorf("open: GET /metrics = %d, want 200", res.Code)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type seen struct {
		route, method string
		status        int
	}
	var got []seen
	w.srv.Observe = func(route, method string, status int, _ time.Duration) {
		got = append(got, seen{route, method, status})
	}
	w.h = w.rebuild().Handler()
	w.do(t, "GET", ciKey, "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	w.do(t, "GET", "/active-key?username=panics", "X-Api-Key", w.reader, "Authorization", "Bearer "+w.token)
	w.do(t, "GET", "/some/path/that/a/stranger/chose")
	w.do(t, "BREW", "/readyz")
	want := []seen{{"/active-key", "GET", 200}, {"/active-key", "GET", 500}, {"/", "GET", 404}, {"/readyz", "other", 405}}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("observed %v, want %v", got, want)
		}
	}
}
