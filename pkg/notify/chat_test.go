package notify

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func secret(s string) func() (rotate.Secret, error) {
	return func() (rotate.Secret, error) { return rotate.NewSecret(s), nil }
}

func TestSlackTakesTextWithoutPings(t *testing.T) {
	t.Parallel()
	var got map[string]string
	var id string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(raw, &got)
		id = r.Header.Get(webhook.HeaderID)
	}))
	defer srv.Close()
	m := Message{ID: "a-1", Subject: "[keyrot] ci: <!channel>", Items: []Item{{Kind: Trouble, User: "ci", Title: "<!here> & more", Text: strings.Repeat("é", 2*maxSlack)}}}
	if err := (&Slack{URL: secret(srv.URL)}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	text := got["text"]
	if !strings.HasPrefix(text, "*[keyrot] ci: &lt;!channel&gt;*\n") || strings.Contains(text, "<!") || !strings.Contains(text, "&amp; more") || id != "a-1" {
		t.Errorf("text = %.200q, id %q", text, id)
	}
	if n := len([]rune(text)); n > maxSlack+200 {
		t.Errorf("text has %d characters, want it cut", n)
	}
}

func TestSlackErrorsDoNotHoldTheURL(t *testing.T) {
	t.Parallel()
	err := (&Slack{URL: secret("http://127.0.0.1:1/services/T0/B0/hush")}).Send(t.Context(), Message{})
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("Send() = %v, want an error without the URL", err)
	}
}

func TestSlackSaysWhenToComeAgain(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"30": 30 * time.Second, "Mon, 02 Mar 2026 12:01:00 GMT": time.Minute, "": 0, "soon": 0, "-5": 0} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", "Mon, 02 Mar 2026 12:00:00 GMT")
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		err := (&Slack{URL: secret(srv.URL)}).Send(t.Context(), Message{})
		srv.Close()
		if err == nil || waitOf(err) != want {
			t.Errorf("Retry-After: %s: Send() = %v with a wait of %s, want %s", header, err, waitOf(err), want)
		}
	}
}

func TestSubjectsForSNSAreASCII(t *testing.T) {
	t.Parallel()
	if got := ascii("key AKIA…F2 für ci\n"+strings.Repeat("x", 200), 100); !strings.HasPrefix(got, "key AKIA...F2 f?r ci?xxx") || len(got) != 100 {
		t.Errorf("ascii() = %q", got)
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	bad := func(user, title string) Item { return Item{Kind: Trouble, User: user, Title: title} }
	for _, tt := range []struct {
		items []Item
		want  string
	}{
		{[]Item{bad("ci", "x fails")}, "[keyrot p] ci: x fails"},
		{[]Item{bad("", "rotation has stopped")}, "[keyrot p] rotation has stopped"},
		{[]Item{bad("a", "x"), bad("b", "x")}, "[keyrot p] a, b: x"},
		{[]Item{bad("a", "x"), bad("b", "y")}, "[keyrot p] a, b: 2 problems"},
		{[]Item{bad("a", "x"), bad("b", "x"), bad("c", "x"), bad("d", "x")}, "[keyrot p] 4 users: x"},
		{[]Item{bad("a", "x"), {Kind: Change, User: "a", Title: "z"}, {Kind: Over, User: "a", Title: "w"}}, "[keyrot p] a: 1 problem, 1 change, 1 resolved problem"},
		{[]Item{{Kind: Over, User: "a", Title: "w"}}, "[keyrot p] a: resolved: w"},
	} {
		if got := subject("p", tt.items); got != tt.want {
			t.Errorf("subject(%v) = %q, want %q", tt.items, got, tt.want)
		}
	}
}

func TestSMTPRefuses(t *testing.T) {
	t.Parallel()
	ok := SMTP{Host: "mail.example.com", From: "a@example.com", To: "b@example.com"}
	if err := ok.Check(); err != nil {
		t.Errorf("Check() = %v, want nil", err)
	}
	for want, change := range map[string]func(*SMTP){
		"host:":             func(s *SMTP) { s.Host = "" },
		"this machine only": func(s *SMTP) { s.Plain = true },
		"both":              func(s *SMTP) { s.Plain, s.Implicit, s.Host = true, true, "localhost" },
		"from:":             func(s *SMTP) { s.From = "a@b\r\nBcc: x@y" },
		"to:":               func(s *SMTP) { s.To = "" },
	} {
		s := ok
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want %q", err, want)
		}
	}
}
