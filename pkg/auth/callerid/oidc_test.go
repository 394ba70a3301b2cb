package callerid_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/auth/callerid"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// signers are one key of each kind and one that no issuer publishes.
//
//nolint:gochecknoglobals // RSA keys take time to make
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	e, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	other, err4 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"r": r, "e": e, "d": ed, "other": other}
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk is a public key as an issuer publishes it, with more members.
func jwk(kid string, pub crypto.PublicKey, more ...string) map[string]any {
	k := map[string]any{"kid": kid, "use": "sig"}
	switch p := pub.(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		raw, _ := p.Bytes()
		k["kty"], k["crv"], k["x"], k["y"] = "EC", "P-256", b64(raw[1:33]), b64(raw[33:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(p)
	}
	for i := 0; i < len(more); i += 2 {
		k[more[i]] = more[i+1]
	}
	return k
}

func jwks(keys ...map[string]any) []byte {
	raw, _ := json.Marshal(map[string]any{"keys": keys})
	return raw
}

func also(k map[string]any, name string, value any) map[string]any {
	k[name] = value
	return k
}

func published() []byte {
	s := signers()
	return jwks(jwk("r", s["r"].Public(), "alg", "RS256"), jwk("e", s["e"].Public()), jwk("d", s["d"].Public()))
}

// issuer serves a key set and counts who asks.
type issuer struct {
	body   atomic.Pointer[[]byte]
	status atomic.Int64
	asked  atomic.Int64
	url    string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.publish(published())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		if status := int(i.status.Load()); status != 0 && r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", status)
			return
		}
		_, _ = w.Write(*i.body.Load())
	}))
	t.Cleanup(srv.Close)
	i.url = srv.URL + "/keys"
	return i
}

func (i *issuer) publish(raw []byte) { i.body.Store(&raw) }

// good are claims that are accepted.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "https://issuer.example", "aud": "keyrot", "sub": "system:serviceaccount:prod:app", "repository": "org/app",
		"iat": t0.Unix(), "nbf": t0.Unix(), "exp": t0.Add(time.Hour).Unix(), "groups": []string{"a", "b"}, "verified": true,
	}
}

// with returns the claims with others in place; nil takes one away.
func with(pairs ...any) jwt.MapClaims {
	c := good()
	for i := 0; i < len(pairs); i += 2 {
		if c[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(c, pairs[i].(string))
		}
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, kid string, key any, c jwt.Claims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(url string) callerid.Identity {
	return callerid.Identity{Name: "k8s", Users: []string{"app-*"}, Role: auth.Reader, OIDC: &callerid.OIDC{
		Issuer: "https://issuer.example", Audience: "keyrot", Subjects: []string{"system:serviceaccount:prod:*"},
		Claims: []string{"repository=org/app", "groups=b", "verified=true"}, JWKSURL: url,
	}}
}

func TestOIDCIsAccepted(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := &callerid.Verifier{Identities: []callerid.Identity{entry(i.url)}, Now: func() time.Time { return t0 }}
	s := signers()
	for _, tc := range []struct {
		name, token string
	}{
		{"RS256", sign(t, jwt.SigningMethodRS256, "r", s["r"], good())},
		{"ES256", sign(t, jwt.SigningMethodES256, "e", s["e"], good())},
		{"EdDSA", sign(t, jwt.SigningMethodEdDSA, "d", s["d"], good())},
		{"several audiences", sign(t, jwt.SigningMethodES256, "e", s["e"], with("aud", []string{"x", "keyrot"}))},
		{"expired within the leeway", sign(t, jwt.SigningMethodES256, "e", s["e"], with("exp", t0.Add(-20*time.Second).Unix()))},
	} {
		k, err := v.OIDC(t.Context(), tc.token)
		if err != nil {
			t.Errorf("%s: OIDC = %v", tc.name, err)
			continue
		}
		if k.ID != "oidc:k8s:system:serviceaccount:prod:app" || !k.External() || !k.MayRead("app-1") || k.MayRead("ci") || k.Name != "k8s" {
			t.Errorf("%s: OIDC = %+v", tc.name, k)
		}
		again, ok := v.External(k.ID, k.Mark())
		if diff := cmp.Diff(k, again); !ok || diff != "" {
			t.Errorf("%s: External (-want +got):\n%s", tc.name, diff)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the keys were read %d times, want once", n)
	}
}

// TestOIDCAttacks: each row is a token that must not be let in.
func TestOIDCAttacks(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := &callerid.Verifier{Identities: []callerid.Identity{entry(i.url)}, Now: func() time.Time { return t0 }}
	s := signers()
	der, err := x509.MarshalPKIXPublicKey(s["r"].Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	es := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodES256, "e", s["e"], c) }
	genuine := es(good())
	parts := strings.Split(genuine, ".")
	crit := jwt.NewWithClaims(jwt.SigningMethodES256, good())
	crit.Header["kid"], crit.Header["crit"] = "e", []string{"b64"}
	critical, err := crit.SignedString(s["e"])
	if err != nil {
		t.Fatal(err)
	}
	embedded := jwt.NewWithClaims(jwt.SigningMethodES256, good())
	embedded.Header["kid"], embedded.Header["jwk"], embedded.Header["jku"] = "mine", jwk("mine", s["other"].Public()), "https://evil.example/keys"
	own, err := embedded.SignedString(s["other"])
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"nothing":                          "",
		"no token":                         "x",
		"dots":                             "..",
		"alg none":                         sign(t, jwt.SigningMethodNone, "e", jwt.UnsafeAllowNoneSignatureType, good()),
		"the signature cut off":            parts[0] + "." + parts[1] + ".",
		"another payload":                  parts[0] + "." + b64([]byte(`{"iss":"https://issuer.example","aud":"keyrot","sub":"system:serviceaccount:prod:root"}`)) + "." + parts[2],
		"HS256 with the public key (PEM)":  sign(t, jwt.SigningMethodHS256, "r", public, good()),
		"HS256 with the public key (DER)":  sign(t, jwt.SigningMethodHS256, "r", der, good()),
		"RS512":                            sign(t, jwt.SigningMethodRS512, "r", s["r"], good()),
		"PS256":                            sign(t, jwt.SigningMethodPS256, "r", s["r"], good()),
		"ES256 under an RSA key's kid":     sign(t, jwt.SigningMethodES256, "r", s["e"], good()),
		"another key under a known kid":    sign(t, jwt.SigningMethodES256, "e", s["other"], good()),
		"an unknown kid":                   sign(t, jwt.SigningMethodES256, "x", s["e"], good()),
		"no kid":                           sign(t, jwt.SigningMethodES256, "", s["e"], good()),
		"its own key in the header":        own,
		"an extension that is critical":    critical,
		"another issuer":                   es(with("iss", "https://issuer.example.evil")),
		"an issuer with a slash":           es(with("iss", "https://issuer.example/")),
		"no issuer":                        es(with("iss", nil)),
		"a list of issuers":                es(with("iss", []string{"https://issuer.example"})),
		"another audience":                 es(with("aud", "sts.amazonaws.com")),
		"no audience":                      es(with("aud", nil)),
		"expired":                          es(with("exp", t0.Add(-31*time.Second).Unix())),
		"no expiry":                        es(with("exp", nil)),
		"not yet good":                     es(with("nbf", t0.Add(31*time.Second).Unix())),
		"issued in the future":             es(with("iat", t0.Add(31*time.Second).Unix())),
		"another subject":                  es(with("sub", "system:serviceaccount:test:app")),
		"a subject that holds a good one":  es(with("sub", "x:system:serviceaccount:prod:app")),
		"no subject":                       es(with("sub", nil)),
		"a subject with a line feed":       es(with("sub", "system:serviceaccount:prod:app\nuser=root")),
		"a subject with a NUL":             es(with("sub", "system:serviceaccount:prod:app\x00")),
		"a subject in Cyrillic":            es(with("sub", "system:serviceaccount:prod:\u0430pp")),
		"an endless subject":               es(with("sub", "system:serviceaccount:prod:"+strings.Repeat("a", 300))),
		"another claim":                    es(with("repository", "org/evil")),
		"a claim missing":                  es(with("repository", nil)),
		"a claim of another type":          es(with("verified", 1)),
		"a list without the value":         es(with("groups", []string{"bb"})),
		"oversized":                        es(with("x", strings.Repeat("a", 9000))),
		"one of our own tokens (its type)": sign(t, jwt.SigningMethodHS256, "e", []byte("secretsecretsecretsecretsecretse"), good()),
	} {
		if k, err := v.OIDC(t.Context(), token); !errors.Is(err, auth.ErrBadKey) || k.ID != "" {
			t.Errorf("%s: OIDC = %+v, %v, want ErrBadKey", name, k, err)
		} else if token != "" && len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error holds the token", name)
		}
	}
	if _, err := v.OIDC(t.Context(), genuine); err != nil {
		t.Errorf("the token that the rows were made of = %v: they prove nothing", err)
	}
}

// TestUnknownKidStorm: however many tokens name keys that there are not, the
// issuer is asked once in a while.
func TestUnknownKidStorm(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	var now atomic.Int64
	v := &callerid.Verifier{Identities: []callerid.Identity{entry(i.url)}, Now: func() time.Time { return t0.Add(time.Duration(now.Load())) }}
	s := signers()
	var wg sync.WaitGroup
	for n := range 200 {
		token := sign(t, jwt.SigningMethodES256, "x"+strings.Repeat("y", n%20), s["e"], good())
		wg.Go(func() {
			// Clients that hang up must not make the attempt fail for others.
			ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
			cancel()
			if _, err := v.OIDC(ctx, token); !errors.Is(err, auth.ErrBadKey) {
				t.Errorf("OIDC = %v, want ErrBadKey", err)
			}
		})
	}
	wg.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("200 unknown kids: the issuer was asked %d times, want once", n)
	}
	now.Store(int64(31 * time.Second))
	_, _ = v.OIDC(t.Context(), sign(t, jwt.SigningMethodES256, "z", s["e"], good()))
	if n := i.asked.Load(); n != 2 {
		t.Errorf("after a while: the issuer was asked %d times, want twice", n)
	}
}

func TestIssuerRotatesItsKeys(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	now := t0
	v := &callerid.Verifier{Identities: []callerid.Identity{entry(i.url)}, Now: func() time.Time { return now }}
	s := signers()
	long := with("exp", t0.Add(48*time.Hour).Unix())
	old, fresh := sign(t, jwt.SigningMethodRS256, "r", s["r"], long), sign(t, jwt.SigningMethodES256, "n", s["other"], long)
	is := func(when string, token string, want error) {
		t.Helper()
		if _, err := v.OIDC(t.Context(), token); !errors.Is(err, want) {
			t.Errorf("%s: OIDC = %v, want %v", when, err, want)
		}
	}
	is("at first", old, nil)
	i.publish(jwks(jwk("r", s["r"].Public()), jwk("n", s["other"].Public())))
	now = now.Add(31 * time.Second)
	is("a new key is found by its kid", fresh, nil)
	is("the old one is still good", old, nil)
	i.publish(jwks(jwk("n", s["other"].Public())))
	now = now.Add(11 * time.Minute)
	is("a key that was taken away ends", old, auth.ErrBadKey)
	i.status.Store(http.StatusFound)
	now = now.Add(time.Hour)
	is("while the issuer is away its keys are used", fresh, nil)
	now = now.Add(12 * time.Hour)
	if _, err := v.OIDC(t.Context(), fresh); err == nil || errors.Is(err, auth.ErrBadKey) {
		t.Errorf("with keys that are too old: OIDC = %v, want another error than ErrBadKey", err)
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := signers()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	e := s["e"].Public()
	many := make([]map[string]any, 65)
	for n := range many {
		many[n] = jwk(fmt.Sprint("e", n), e)
	}
	token := sign(t, jwt.SigningMethodES256, "e", s["e"], good())
	for name, tc := range map[string]struct {
		set    []byte
		token  string
		strict bool // the set as a whole is no good
	}{
		"a kid twice":           {jwks(jwk("e", e), jwk("e", s["other"].Public()), jwk("x", e)), token, false},
		"a kid twice, it last":  {jwks(jwk("e", s["other"].Public()), jwk("e", e), jwk("x", e)), token, false},
		"for encryption":        {jwks(jwk("e", e, "use", "enc"), jwk("x", e)), token, false},
		"for signing only":      {jwks(also(jwk("e", e), "key_ops", []string{"sign"}), jwk("x", e)), token, false},
		"for another algorithm": {jwks(jwk("e", e, "alg", "ES384"), jwk("x", e)), token, false},
		"not on the curve":      {jwks(jwk("e", e, "y", b64(make([]byte, 32))), jwk("x", e)), token, false},
		"a short coordinate":    {jwks(jwk("e", e, "x", b64(make([]byte, 31))), jwk("x", e)), token, false},
		"a weak RSA key":        {jwks(jwk("r", weak.Public()), jwk("x", e)), sign(t, jwt.SigningMethodRS256, "r", weak, good()), false},
		"a shared secret":       {jwks(map[string]any{"kty": "oct", "kid": "e", "k": b64([]byte("secret"))}, jwk("x", e)), sign(t, jwt.SigningMethodHS256, "e", []byte("secret"), good()), false},
		"no key at all":         {[]byte(`{"keys":[]}`), token, true},
		"no JSON":               {[]byte(`<html>`), token, true},
		"too many keys":         {jwks(append(many, jwk("e", e))...), token, true},
		"oversized":             {append(published(), []byte(strings.Repeat(" ", 300<<10))...), token, true},
	} {
		i := newIssuer(t)
		i.publish(tc.set)
		v := &callerid.Verifier{Identities: []callerid.Identity{entry(i.url)}, Now: func() time.Time { return t0 }}
		if _, err := v.OIDC(t.Context(), tc.token); err == nil || errors.Is(err, auth.ErrBadKey) == tc.strict {
			t.Errorf("%s: OIDC = %v, want ErrBadKey: %t", name, err, !tc.strict)
		}
	}
}

func TestKeysInAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "jwks.json")
	id := entry("")
	id.OIDC.JWKSFile = file
	v := &callerid.Verifier{Identities: []callerid.Identity{id}, Now: func() time.Time { return t0 }}
	token := sign(t, jwt.SigningMethodES256, "e", signers()["e"], good())
	if _, err := v.OIDC(t.Context(), token); err == nil || errors.Is(err, auth.ErrBadKey) {
		t.Errorf("without the file: OIDC = %v, want another error than ErrBadKey", err)
	}
	if err := os.WriteFile(file, published(), 0o600); err != nil {
		t.Fatal(err)
	}
	v = &callerid.Verifier{Identities: []callerid.Identity{id}, Now: func() time.Time { return t0 }}
	if _, err := v.OIDC(t.Context(), token); err != nil {
		t.Errorf("OIDC = %v", err)
	}
}

// TestChangedEntriesEndTheirTokens: what a token stands for is the entry that
// let its caller in, as it was.
func TestChangedEntriesEndTheirTokens(t *testing.T) {
	t.Parallel()
	k := auth.Key{ID: "oidc:k8s:x", Hash: callerid.Fingerprint(entry("u"))}
	change := func(f func(*callerid.Identity)) []callerid.Identity {
		id := entry("u")
		f(&id)
		return []callerid.Identity{{Name: "new", AWS: &callerid.AWS{}}, id}
	}
	for name, ids := range map[string][]callerid.Identity{
		"removed":         nil,
		"other users":     change(func(i *callerid.Identity) { i.Users = []string{"*"} }),
		"another role":    change(func(i *callerid.Identity) { i.Role = auth.Viewer }),
		"other subjects":  change(func(i *callerid.Identity) { i.OIDC.Subjects = nil }),
		"another claim":   change(func(i *callerid.Identity) { i.OIDC.Claims = []string{"a=b"} }),
		"another address": change(func(i *callerid.Identity) { i.OIDC.JWKSURL = "x" }),
	} {
		if got, ok := (&callerid.Verifier{Identities: ids}).External(k.ID, k.Mark()); ok {
			t.Errorf("%s: External = %+v, want none", name, got)
		}
	}
	if _, ok := (&callerid.Verifier{Identities: change(func(*callerid.Identity) {})}).External(k.ID, k.Mark()); !ok {
		t.Error("another entry beside it ended the token, too")
	}
}
