package server_test

import (
	"strings"
	"testing"
)

func TestContainerCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const ci = "/container-credentials/ci"
	for _, tc := range []struct {
		name, target string
		header       []string
		status       int
		says         string
	}{
		{"an API key", ci, []string{"Authorization", w.ciOnly}, 200, `"Token":"","Expiration":"2026-03-01T12:12:00Z"`},
		{"an API key as HTTP spells it", ci, []string{"Authorization", "Bearer " + w.ciOnly}, 200, `"Token":""`},
		{"a token beside its API key", ci, []string{"Authorization", w.ciToken, "X-Api-Key", w.ciOnly}, 200, `"Token":""`},
		{"a token without its API key", ci, []string{"Authorization", w.ciToken}, 401, "Unauthorized"},
		{"a token without its API key, as HTTP spells it", ci, []string{"Authorization", "Bearer " + w.ciToken}, 401, "Unauthorized"},
		{"a token beside another API key", ci, []string{"Authorization", w.ciToken, "X-Api-Key", w.reader}, 401, "Unauthorized"},
		{"a token beside a wrong API key", ci, []string{"Authorization", w.ciToken, "X-Api-Key", "krk_x"}, 403, "Forbidden"},
		{"Java gets no Token", ci, []string{"Authorization", w.ciOnly, "User-Agent", "aws-sdk-java/2.57.8"}, 200, `"` + secret + `","Expiration"`},
		{"nothing", ci, nil, 401, "Unauthorized"},
		{"the API key in its own header only", ci, []string{"X-Api-Key", w.ciOnly}, 401, "Unauthorized"},
		{"a wrong key", ci, []string{"Authorization", "krk_x"}, 401, "Unauthorized"},
		{"a forged token", ci, []string{"Authorization", "a.b.c"}, 401, "Unauthorized"},
		{"twice", ci, []string{"Authorization", w.ciOnly, "Authorization", w.ciOnly}, 401, "Unauthorized"},
		{"a viewer", ci, []string{"Authorization", w.viewer}, 403, "not allowed"},
		{"another's user", "/container-credentials/root", []string{"Authorization", w.ciOnly}, 403, "not allowed"},
		{"an unknown user", "/container-credentials/none", []string{"Authorization", w.reader}, 404, "Unknown user"},
		{"no user", "/container-credentials/", []string{"Authorization", w.reader}, 404, "Not Found"},
		{"no user's name", "/container-credentials/a%2fb", []string{"Authorization", w.reader}, 400, "valid IAM user name"},
	} {
		res := w.do(t, "GET", tc.target, tc.header...)
		body := res.Body.String()
		if res.Code != tc.status || !strings.Contains(body, tc.says) || (res.Code == 200) != strings.Contains(body, secret) {
			t.Errorf("%s: %d %s, want %d with %q", tc.name, res.Code, body, tc.status, tc.says)
		}
	}
	if n := len(w.disp.given); n != 5 {
		t.Errorf("%d hand-outs were recorded, want 5 (one of them for nobody)", n)
	}
}
