package warm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/getkey/entry"
	"github.com/keyrot/keyrot/internal/getkey/quick"
	"github.com/keyrot/keyrot/pkg/api"
)

const (
	keyrots  = "krk_abcdefghijkl_0Lr6zqpNqJWb3ZKNRyMYYkDqWl2ZQ9f5Ju0QnnZ7dVq123456"
	endpoint = "https://keyrot.example"
)

// fill lets get-key cache a credential, and returns what it printed.
func fill(t *testing.T, dir, key, format, secret string, now time.Time) string {
	t.Helper()
	var out strings.Builder
	c := api.Credential{AccessKeyID: "AKIAX", SecretAccessKey: secret, UserName: "ci", CreateDate: now, Expiration: now.Add(12 * time.Minute)}
	w := &getkey.World{
		Out: &out, Err: &out, Now: func() time.Time { return now },
		Getenv: func(name string) string {
			return map[string]string{"KEYROT_API_KEY": key, "KEYROT_CACHE_DIR": dir}[name]
		},
		Fetch: func(context.Context, getkey.Source, string, getkey.Entry) (getkey.Entry, error) {
			return getkey.Entry{Credential: entry.Credential(c), Fetched: now, Next: now.Add(10 * time.Minute)}, nil
		},
	}
	if err := getkey.Run(t.Context(), w, &getkey.Options{User: "ci", Format: format, Endpoint: endpoint, NoAgent: true}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(" "+keyrots+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(keyrots, "0Lr6", "0Lr7", 1)
	for _, tc := range []struct {
		name   string
		r      quick.Request
		key    string // in the environment
		secret string
		later  time.Duration
		ok     bool
	}{
		{"an SDK's", quick.Request{Format: "credential-process"}, keyrots, "s3cret/+", 0, true},
		{"a person's", quick.Request{Format: "json"}, keyrots, "s3cret/+", 0, true},
		{"an API key in a file", quick.Request{Format: "json", APIKeyFile: file}, "", "s3cret/+", 0, true},
		{"both, and which", quick.Request{Format: "json", OIDCTokenFile: "f", Identity: "api-key"}, keyrots, "s", 0, true},
		{"just before it is asked for anew", quick.Request{Format: "json"}, keyrots, "s", 10*time.Minute - 1, true},
		{"time to ask", quick.Request{Format: "json"}, keyrots, "s", 10 * time.Minute, false},
		{"a clock that was set back", quick.Request{Format: "json"}, keyrots, "s", -time.Hour, false},
		{"a shell's format", quick.Request{Format: "env"}, keyrots, "s", 0, false},
		{"a secret that needs the encoder", quick.Request{Format: "json"}, keyrots, `s"s`, 0, false},
		{"another user", quick.Request{Format: "json", User: "eve"}, keyrots, "s", 0, false},
		{"another server", quick.Request{Format: "json", Endpoint: "https://other"}, keyrots, "s", 0, false},
		{"another API key", quick.Request{Format: "json"}, other, "s", 0, false},
		{"an API key that is not keyrot's", quick.Request{Format: "json"}, "K", "s", 0, false},
		{"no API key", quick.Request{Format: "json"}, "", "s", 0, false},
		{"an OIDC token", quick.Request{Format: "json", OIDCTokenFile: "f"}, keyrots, "s", 0, false},
		{"AWS's word", quick.Request{Format: "json", Identity: "aws"}, keyrots, "s", 0, false},
		{"no cache wanted", quick.Request{Format: "json", NoCache: true}, keyrots, "s", 0, false},
	} {
		dir := t.TempDir()
		key := keyrots
		if tc.key == "K" {
			key = tc.key
		}
		format := tc.r.Format
		want := fill(t, dir, key, format, tc.secret, now)
		r := tc.r
		if r.User == "" {
			r.User = "ci"
		}
		if r.Endpoint == "" {
			r.Endpoint = endpoint
		}
		r.Getenv = func(name string) string {
			return map[string]string{"KEYROT_API_KEY": tc.key, "KEYROT_CACHE_DIR": dir}[name]
		}
		got, ok := answer(&r, now.Add(tc.later))
		if ok != tc.ok || ok && got != want {
			t.Errorf("%s: answer = %q, %v, want %q, %v", tc.name, got, ok, want, tc.ok)
		}
	}
	Answer(nil, now) // somebody else's process
}
