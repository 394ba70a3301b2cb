package getkey

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKind(t *testing.T) {
	t.Parallel()
	file := tokenFile(t, "K2")
	for _, tc := range []struct {
		name, env string
		o         Options
		kind, key string // "": ErrUsage
	}{
		{"an API key", "K", Options{}, ByAPIKey, "K"},
		{"an API key's file", "", Options{APIKeyFile: file}, ByAPIKey, "K2"},
		{"nothing", "", Options{}, ByAPIKey, ""},
		{"a token file", "", Options{OIDCTokenFile: "f"}, ByOIDC, ""},
		{"both", "K", Options{OIDCTokenFile: "f"}, "", ""},
		{"both, and which", "K", Options{OIDCTokenFile: "f", Identity: ByOIDC}, ByOIDC, ""},
		{"both, and the other", "K", Options{OIDCTokenFile: "f", Identity: ByAPIKey}, ByAPIKey, "K"},
		{"AWS", "K", Options{Identity: ByAWS, APIKeyFile: "/missing"}, ByAWS, ""},
		{"a token file that is not named", "", Options{Identity: ByOIDC}, "", ""},
		{"another", "", Options{Identity: "saml"}, "", ""},
	} {
		kind, key, err := tc.o.Kind(func(string) string { return tc.env })
		if kind != tc.kind || key != tc.key || (tc.kind == "") != errors.Is(err, ErrUsage) {
			t.Errorf("%s: Kind = %q, %q, %v, want %q, %q", tc.name, kind, key, err, tc.kind, tc.key)
		}
	}
}

// TestCacheOfIdentities: what one caller cached is another's neither to read
// nor to be given, and a token that was replaced leaves no file behind.
func TestCacheOfIdentities(t *testing.T) {
	t.Parallel()
	f, s, _ := begin(t)
	as := func(name, secret string) Source {
		out := *s
		out.APIKey = ""
		out.Identify = func(context.Context) (Identity, error) { return Identity{Name: name, Secret: secret}, nil }
		return out
	}
	ask := func(what string, s Source, requests int64) {
		t.Helper()
		before := f.requests.Load()
		s.want(t, what, "AKIAFIRST")
		if n := f.requests.Load() - before; n != requests {
			t.Errorf("%s: %d requests, want %d", what, n, requests)
		}
	}
	ask("an API key", *s, 2)
	ask("a token", as("oidc\x00a", "a.b.c"), 2)
	ask("the same token", as("oidc\x00a", "a.b.c"), 0)
	ask("its successor in the file", as("oidc\x00a", "d.e.f"), 2)
	ask("another file", as("oidc\x00b", "d.e.f"), 2)
	ask("AWS", as("aws", "K"), 2)
	ask("the API key again", *s, 0)
	files, err := filepath.Glob(filepath.Join(s.CacheDir, "*"))
	kept := 0
	for _, name := range files {
		if !strings.HasSuffix(name, ".lock") {
			kept++
		}
	}
	if err != nil || kept != 4 {
		t.Errorf("%d cached credentials, %v, want 4: API key, two token files, AWS", kept, err)
	}
	cold := as("oidc\x00a", "other")
	cold.Fetch = nil
	if _, err := cold.Credential(t.Context(), "ci"); !errors.Is(err, errCold) {
		t.Errorf("without the token: Credential = %v, want errCold", err)
	}
}

func TestOIDCIdentity(t *testing.T) {
	t.Parallel()
	id, err := oidcIdentity(tokenFile(t, "a.b.c\n"))
	if err != nil {
		t.Fatal(err)
	}
	if header, value, err := id.Proof(t.Context(), time.Now()); err != nil || header != "Authorization" || value != "Bearer a.b.c" || id.Secret != "a.b.c" {
		t.Errorf("Proof = %q, %q, %v", header, value, err)
	}
	for _, text := range []string{"", "x", "a.b.c d.e.f", "a.b.c\r\nX: y"} {
		if _, err := oidcIdentity(tokenFile(t, text)); !errors.Is(err, ErrUsage) || text != "" && strings.Contains(err.Error(), text) && len(text) > 1 {
			t.Errorf("oidcIdentity(%q) = %v, want ErrUsage", text, err)
		}
	}
}
