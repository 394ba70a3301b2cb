package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/api"
)

func TestErrorsSurviveTheJourney(t *testing.T) {
	t.Parallel()
	sentinels := []error{
		api.ErrForbidden, api.ErrUnauthorized, api.ErrNotAllowed, api.ErrBadRequest, api.ErrUnknownUser,
		api.ErrNoKeyReady, api.ErrTooMany, api.ErrTooLarge, api.ErrNotFound, api.ErrMethod,
		api.ErrUnavailable, api.ErrInternal,
	}
	codes := map[string]bool{}
	for _, want := range sentinels {
		status, body := api.Answer(fmt.Errorf("looking: %w", want))
		if codes[body.Code] {
			t.Errorf("code %q is used twice", body.Code)
		}
		codes[body.Code] = true
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var back api.Error
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if got := api.FromAnswer(status, back); !errors.Is(got, want) {
			t.Errorf("FromAnswer(%d, %s) = %v, want %v", status, raw, got, want)
		}
	}
}

func TestAnswerWords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		err    error
		status int
		body   api.Error
	}{
		{"a missing API key is what API Gateway says", api.ErrForbidden, 403, api.Error{Message: "Forbidden", Code: "forbidden"}},
		{"a bad token is what API Gateway says", api.ErrUnauthorized, 401, api.Error{Message: "Unauthorized", Code: "unauthorized"}},
		{"an unknown error tells nothing", errors.New("disk /var/x full"), 500, api.Error{Message: "Internal Server Error", Code: "internal"}},
		{"a bad request tells its text", &api.BadRequest{Text: "username is missing"}, 400, api.Error{Message: "username is missing", Code: "bad_request"}},
	} {
		status, body := api.Answer(tc.err)
		if status != tc.status || body != tc.body {
			t.Errorf("%s: Answer(%v) = %d %+v, want %d %+v", tc.name, tc.err, status, body, tc.status, tc.body)
		}
	}
}

func TestFromAnswerWithoutCode(t *testing.T) {
	t.Parallel()
	if got := api.FromAnswer(403, api.Error{Message: "Forbidden"}); !errors.Is(got, api.ErrForbidden) {
		t.Errorf("FromAnswer(403, no code) = %v, want ErrForbidden", got)
	}
	if got := api.FromAnswer(403, api.Error{Message: "Forbidden"}).Error(); !strings.Contains(got, "not by keyrot") {
		t.Errorf("Error() = %q, want it to say who answered", got)
	}
	got := api.FromAnswer(502, api.Error{})
	if got.Unwrap() != nil || got.Error() != "server answered 502" {
		t.Errorf("FromAnswer(502) = %v wrapping %v, want a plain error", got, got.Unwrap())
	}
	r := api.FromAnswer(404, api.Error{Message: "Unknown user", Code: "unknown_user"})
	r.RequestID = "R1"
	if got, want := r.Error(), "unknown user, request R1"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestOnlyKeyrotWithdraws(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		body   api.Error
		want   bool
	}{
		{"keyrot does not accept the API key", 403, api.Error{Message: "Forbidden", Code: "forbidden"}, true},
		{"keyrot does not let the caller read the user", 403, api.Error{Message: "x", Code: "user_not_allowed"}, true},
		{"keyrot does not accept a fresh token", 401, api.Error{Message: "Unauthorized", Code: "unauthorized"}, true},
		{"keyrot does not know the user right now", 404, api.Error{Message: "Unknown user", Code: "unknown_user"}, false},
		{"keyrot is overloaded", 429, api.Error{Message: "Too Many Requests", Code: "too_many_requests"}, false},
		{"API Gateway's or a firewall's 403", 403, api.Error{Message: "Forbidden"}, false},
		{"API Gateway's 401", 401, api.Error{Message: "Unauthorized"}, false},
		{"API Gateway knows no such route", 404, api.Error{Message: "Not Found"}, false},
		{"a proxy's 410", 410, api.Error{Message: "Gone"}, false},
		{"a gateway with codes of its own", 403, api.Error{Message: "Forbidden", Code: "AccessDenied"}, false},
		{"a gateway that shares a code, not its status", 407, api.Error{Message: "x", Code: "forbidden"}, false},
	} {
		if got := api.Withdrawn(fmt.Errorf("asking: %w", api.FromAnswer(tt.status, tt.body))); got != tt.want {
			t.Errorf("%s: Withdrawn = %v, want %v", tt.name, got, tt.want)
		}
	}
	if api.Withdrawn(nil) || api.Withdrawn(api.ErrForbidden) {
		t.Error("Withdrawn without an answer = true, want false")
	}
}

func TestCredentialPrintsWithoutSecret(t *testing.T) {
	t.Parallel()
	c := api.Credential{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "verysecret", UserName: "ci", Expiration: time.Unix(9, 0).UTC()}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q", "%x"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", &c)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "c", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", c)
	if strings.Contains(out.String(), "verysecret") || strings.Contains(out.String(), fmt.Sprintf("%x", "verysecret")) {
		t.Errorf("the secret was printed:\n%s", out.String())
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"verysecret","Expiration":"1970-01-01T00:00:09Z","CreateDate":"0001-01-01T00:00:00Z","UserName":"ci"}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("json.Marshal (-want +got):\n%s", diff)
	}
}

func TestShortKey(t *testing.T) {
	t.Parallel()
	if got, want := api.ShortKey("AKIAIOSFODNN7EXAMPF2"), "AKIA…F2"; got != want {
		t.Errorf("ShortKey = %q, want %q", got, want)
	}
	if got := api.ShortKey("short"); got != "short" {
		t.Errorf("ShortKey(short) = %q, want it unchanged", got)
	}
}

func TestAnErrorIsShort(t *testing.T) {
	t.Parallel()
	r := api.FromAnswer(403, api.Error{Message: strings.Repeat("é", 60_000)})
	r.RequestID = strings.Repeat("x", 60_000)
	if text := r.Error(); len(text) > 1000 || !utf8.ValidString(text) || !strings.Contains(text, "é…") {
		t.Errorf("Error has %d bytes: %.400s", len(text), text)
	}
}
