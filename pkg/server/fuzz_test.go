package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzActiveKey sends queries and headers of all shapes with credentials that
// may read "ci" only: nothing else may be handed out, and nothing is a bug.
func FuzzActiveKey(f *testing.F) {
	f.Add("username=ci", "", "")
	f.Add("username=root", `W/"x", *`, "")
	f.Add("username=ci&username=root", "", "Bearer x")
	f.Add("username=%00&%zz", `"`, "Basic Og==")
	w := (*world)(nil)
	f.Fuzz(func(t *testing.T, query, match, authorization string) {
		if w == nil {
			w = newWorld(t)
			w.srv.Limits.Caller = 1e9
			w.h = w.rebuild().Handler()
			other := w.disp.creds["ci"]
			other.User = "root"
			w.disp.creds["root"] = other
		}
		w.now = w.now.Add(20 * time.Second) // failures are limited, too
		token := w.getToken(t, w.ciOnly)
		if authorization == "" {
			authorization = "Bearer " + token
		}
		r := &http.Request{
			Method: "GET", Proto: "HTTP/1.1", Host: "x", RemoteAddr: "192.0.2.1:1", Body: http.NoBody,
			URL:    &url.URL{Path: "/active-key", RawQuery: query},
			Header: http.Header{"X-Api-Key": {w.ciOnly}, "Authorization": {authorization}, "If-None-Match": {match}},
		}
		res := httptest.NewRecorder()
		w.h.ServeHTTP(res, r.WithContext(t.Context()))
		if res.Code >= 500 {
			t.Fatalf("GET /active-key?%s = %d %s", query, res.Code, res.Body)
		}
		if res.Code == 200 && !strings.Contains(res.Body.String(), `"UserName":"ci"`) {
			t.Fatalf("GET /active-key?%s = %s", query, res.Body)
		}
	})
}
