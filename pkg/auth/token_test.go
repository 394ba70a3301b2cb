package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyrot/keyrot/pkg/auth"
)

type world struct {
	st     *settings
	clk    *clock
	keys   *auth.Keys
	tokens *auth.Tokens
}

func newWorld() *world {
	st, clk := newSettings(), newClock()
	keys := &auth.Keys{Settings: st, Now: clk.Now}
	return &world{st, clk, keys, &auth.Tokens{Settings: st, Keys: keys, Now: clk.Now}}
}

func (w *world) issue(t *testing.T, k auth.Key) string {
	t.Helper()
	token, ttl, err := w.tokens.Issue(t.Context(), k)
	if err != nil || ttl != 5*time.Minute {
		t.Fatalf("Issue = %s, %v, want 5m, nil", ttl, err)
	}
	return token
}

// signingKey reads the newest signing key out of the store, as a thief would.
func (w *world) signingKey(t *testing.T) (kid string, secret []byte) {
	t.Helper()
	var ring []struct {
		Kid    string `json:"kid"`
		Secret []byte `json:"secret"`
	}
	if err := json.Unmarshal(w.st.values["token/signing-keys"], &ring); err != nil {
		t.Fatal(err)
	}
	return ring[0].Kid, ring[0].Secret
}

func TestTokenOfAGoodKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, k := mustCreate(t, w.keys, reader)
	token := w.issue(t, k)
	w.clk.advance(auth.TokenTTL - time.Second)
	got, err := w.tokens.Verify(t.Context(), token)
	if err != nil || got.ID != k.ID {
		t.Errorf("Verify = %q, %v, want %q", got.ID, err, k.ID)
	}
	if len(token) > 512 {
		t.Errorf("a token has %d characters", len(token))
	}
	w.clk.advance(time.Second)
	if _, err := w.tokens.Verify(t.Context(), token); !errors.Is(err, auth.ErrBadToken) {
		t.Errorf("Verify at exp = %v, want ErrBadToken", err)
	}
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, k := mustCreate(t, w.keys, reader)
	good := w.issue(t, k)
	kid, secret := w.signingKey(t)
	foreign := newWorld()
	foreignToken := foreign.issue(t, k)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(edit func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": "keyrot", "aud": "keyrot-api", "sub": k.ID, "jti": "j",
			"exp": t0.Add(time.Minute).Unix(), "iat": t0.Unix(), "nbf": t0.Unix(),
			"mark": hex.EncodeToString(k.Hash[:8]),
		}
		if edit != nil {
			edit(c)
		}
		return c
	}
	forge := func(m jwt.SigningMethod, key any, c jwt.MapClaims, header map[string]any) string {
		tok := jwt.NewWithClaims(m, c)
		tok.Header["kid"], tok.Header["typ"] = kid, "keyrot-access+jwt"
		for name, v := range header {
			tok.Header[name] = v
			if v == nil {
				delete(tok.Header, name)
			}
		}
		s, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hs := jwt.SigningMethodHS256
	with := func(edit func(jwt.MapClaims)) string { return forge(hs, secret, claims(edit), nil) }
	parts := strings.Split(good, ".")

	if _, err := w.tokens.Verify(t.Context(), with(nil)); err != nil {
		t.Fatalf("the unedited forgery must be good, or the rows below prove nothing: %v", err)
	}
	for _, tc := range []struct{ name, token string }{
		{"nothing", ""},
		{"not a token", "abc"},
		{"no mark of the API key's secret", with(func(c jwt.MapClaims) { delete(c, "mark") })},
		{"the mark of another secret", with(func(c jwt.MapClaims) { c["mark"] = "0011223344556677" })},
		{"alg none", forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil), nil)},
		{"alg none in capitals", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"NONE","typ":"keyrot-access+jwt","kid":"`+kid+`"}`)) + "." + parts[1] + "."},
		{"HS512 with our key", forge(jwt.SigningMethodHS512, secret, claims(nil), nil)},
		{"RS256", forge(jwt.SigningMethodRS256, rsaKey, claims(nil), nil)},
		{"another secret", forge(hs, []byte(strings.Repeat("x", 32)), claims(nil), nil)},
		{"an empty secret", forge(hs, []byte{}, claims(nil), nil)},
		{"another installation", foreignToken},
		{"unknown kid", forge(hs, secret, claims(nil), map[string]any{"kid": "other"})},
		{"no kid", forge(hs, secret, claims(nil), map[string]any{"kid": nil})},
		{"kid that is a number", forge(hs, secret, claims(nil), map[string]any{"kid": 7})},
		{"kid that is a path", forge(hs, secret, claims(nil), map[string]any{"kid": "../../../dev/null"})},
		{"kid that is long", forge(hs, secret, claims(nil), map[string]any{"kid": strings.Repeat("k", 65)})},
		{"another typ", forge(hs, secret, claims(nil), map[string]any{"typ": "JWT"})},
		{"no typ", forge(hs, secret, claims(nil), map[string]any{"typ": nil})},
		{"expired", with(func(c jwt.MapClaims) { c["exp"] = t0.Add(-time.Second).Unix() })},
		{"no exp", with(func(c jwt.MapClaims) { delete(c, "exp") })},
		{"exp that is text", with(func(c jwt.MapClaims) { c["exp"] = "tomorrow" })},
		{"not valid yet", with(func(c jwt.MapClaims) { c["nbf"] = t0.Add(time.Minute).Unix() })},
		{"issued in the future", with(func(c jwt.MapClaims) { c["iat"] = t0.Add(time.Minute).Unix() })},
		{"no iat", with(func(c jwt.MapClaims) { delete(c, "iat") })},
		{"another issuer", with(func(c jwt.MapClaims) { c["iss"] = "keyrot.example" })},
		{"no issuer", with(func(c jwt.MapClaims) { delete(c, "iss") })},
		{"another audience", with(func(c jwt.MapClaims) { c["aud"] = []string{"status-page"} })},
		{"no audience", with(func(c jwt.MapClaims) { delete(c, "aud") })},
		{"unknown caller", with(func(c jwt.MapClaims) { c["sub"] = "nobody" })},
		{"no caller", with(func(c jwt.MapClaims) { delete(c, "sub") })},
		{"oversized", with(func(c jwt.MapClaims) { c["jti"] = strings.Repeat("j", 2000) })},
		{"payload swapped", parts[0] + "." + strings.Split(with(func(c jwt.MapClaims) { c["sub"] = "admin" }), ".")[1] + "." + parts[2]},
		{"signature cut off", parts[0] + "." + parts[1] + "."},
		{"four parts", good + ".x"},
		{"padded", good + "="},
		{"space in front", " " + good},
	} {
		if got, err := w.tokens.Verify(t.Context(), tc.token); !errors.Is(err, auth.ErrBadToken) {
			t.Errorf("%s: Verify = %+v, %v, want ErrBadToken", tc.name, got, err)
		}
	}
}

func TestTokenDiesWithItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, revoked := mustCreate(t, w.keys, reader)
	_, expiring := mustCreate(t, w.keys, auth.Key{Users: []string{"*"}, Role: auth.Reader, Expires: t0.Add(time.Minute)})
	one, two := w.issue(t, revoked), w.issue(t, expiring)
	if err := w.keys.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tokens.Verify(t.Context(), one); !errors.Is(err, auth.ErrBadToken) {
		t.Errorf("Verify after Revoke = %v, want ErrBadToken", err)
	}
	w.clk.advance(time.Minute)
	if _, err := w.tokens.Verify(t.Context(), two); !errors.Is(err, auth.ErrBadToken) {
		t.Errorf("Verify after the key's expiry = %v, want ErrBadToken", err)
	}
}

func TestSigningKeysRotateWithoutRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld()
	other := &auth.Tokens{Settings: w.st, Keys: w.keys, Now: w.clk.Now} // a second replica
	_, k := mustCreate(t, w.keys, reader)
	kids := map[string]bool{}
	for range 3 * 24 * 60 / 4 { // three days in steps of four minutes
		token := w.issue(t, k)
		fromOther, _, err := other.Issue(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		kid, _ := w.signingKey(t)
		kids[kid] = true
		w.clk.advance(4 * time.Minute)
		if _, err := other.Verify(t.Context(), token); err != nil {
			t.Fatalf("at %s: the other replica refuses our token: %v", w.clk.Now(), err)
		}
		if _, err := w.tokens.Verify(t.Context(), fromOther); err != nil {
			t.Fatalf("at %s: we refuse the other replica's token: %v", w.clk.Now(), err)
		}
	}
	if len(kids) != 3 {
		t.Errorf("%d signing keys in three days, want 3", len(kids))
	}
}

func TestNewSigningKeyWaitsForOtherReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld()
	other := &auth.Tokens{Settings: w.st, Keys: w.keys, Now: w.clk.Now}
	_, k := mustCreate(t, w.keys, reader)
	w.issue(t, k)
	w.clk.advance(24*time.Hour - 500*time.Millisecond)
	if _, _, err := other.Issue(t.Context(), k); err != nil { // reads the ring just before it changes
		t.Fatal(err)
	}
	w.clk.advance(500 * time.Millisecond)
	if _, err := other.Verify(t.Context(), w.issue(t, k)); err != nil {
		t.Errorf("a replica with a ring of 0.5 s ago refuses a fresh token: %v", err)
	}
}

func TestTokenStoreTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, k := mustCreate(t, w.keys, reader)
	token := w.issue(t, k)
	broken := errors.New("disk on fire")
	w.st.breakWith(broken)
	w.clk.advance(2 * time.Second)
	if _, err := w.tokens.Verify(t.Context(), token); !errors.Is(err, broken) || errors.Is(err, auth.ErrBadToken) {
		t.Errorf("Verify = %v, want the store's error", err)
	}
	fresh := &auth.Tokens{Settings: w.st, Keys: w.keys, Now: w.clk.Now}
	if _, _, err := fresh.Issue(t.Context(), k); !errors.Is(err, broken) {
		t.Errorf("Issue = %v, want the store's error", err)
	}
	w.st.breakWith(nil)
	w.clk.advance(2 * time.Second)
	for _, bad := range []string{"{", `[{"kid":"a","secret":"c2hvcnQ="}]`} {
		w.st.values["token/signing-keys"] = []byte(bad)
		if _, _, err := w.tokens.Issue(t.Context(), k); err == nil || strings.Contains(err.Error(), "c2hv") {
			t.Errorf("Issue with ring %s = %v, want an error without the key", bad, err)
		}
	}
}

// While the store fails, callers that were good a moment ago get what was
// promised: for a quarter of an hour, and what is read afterwards counts.
func TestStoreDownBelievesWhatItHad(t *testing.T) {
	t.Parallel()
	w := newWorld()
	secret, k := mustCreate(t, w.keys, reader)
	if _, err := w.keys.Check(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.issue(t, k)
	w.st.breakWith(errors.New("no answer"))
	for range 14 {
		w.clk.advance(time.Minute)
		if _, err := w.keys.Check(t.Context(), secret); err != nil {
			t.Fatalf("Check with a store that fails: %v", err)
		}
		if _, err := w.tokens.Verify(t.Context(), w.issue(t, k)); err != nil {
			t.Fatalf("Verify with a store that fails: %v", err)
		}
	}
	w.clk.advance(time.Minute)
	if _, err := w.keys.Check(t.Context(), secret); err == nil || errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check a quarter of an hour later = %v, want the store's error", err)
	}
	if _, _, err := w.tokens.Issue(t.Context(), k); err == nil {
		t.Error("a token was issued although the store has failed for a quarter of an hour")
	}
	w.st.breakWith(nil)
	if err := (&auth.Keys{Settings: w.st, Now: w.clk.Now}).Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	w.clk.advance(time.Second)
	if _, err := w.keys.Check(t.Context(), secret); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check of a revoked key = %v, want %v", err, auth.ErrBadKey)
	}
}

// A signing key that cannot be replaced signs on for an hour.
func TestFullDiskKeepsTheSigningKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, k := mustCreate(t, w.keys, reader)
	w.issue(t, k)
	full := &auth.Tokens{Settings: unwritable{w.st}, Keys: w.keys, Now: w.clk.Now}
	w.clk.advance(24*time.Hour + 30*time.Minute)
	token, _, err := full.Issue(t.Context(), k)
	if err != nil {
		t.Fatalf("Issue while nothing can be saved: %v", err)
	}
	if _, err := w.tokens.Verify(t.Context(), token); err != nil {
		t.Errorf("Verify = %v", err)
	}
	w.clk.advance(time.Hour)
	if _, _, err := (&auth.Tokens{Settings: unwritable{newWorld().st}, Keys: w.keys, Now: w.clk.Now}).Issue(t.Context(), k); err == nil {
		t.Error("a token was signed with a key that was never saved")
	}
}

func TestLosingTheRingSwapReadsTheWinners(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, k := mustCreate(t, w.keys, reader)
	winner := &auth.Tokens{Settings: w.st, Keys: w.keys, Now: w.clk.Now}
	loser := &auth.Tokens{Settings: &lateSettings{settings: w.st, before: func() { w.tokens = winner; w.issue(t, k) }}, Keys: w.keys, Now: w.clk.Now}
	token, _, err := loser.Issue(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := winner.Verify(t.Context(), token); err != nil {
		t.Errorf("the winner refuses the loser's token: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld()
	_, k, err := w.keys.Create(f.Context(), reader)
	if err != nil {
		f.Fatal(err)
	}
	good, _, err := w.tokens.Issue(f.Context(), k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1])
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := w.tokens.Verify(t.Context(), token); err == nil && token != good {
			t.Errorf("Verify(%q) = nil", token)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld()
	_, k, err := w.keys.Create(b.Context(), reader)
	if err != nil {
		b.Fatal(err)
	}
	token, _, err := w.tokens.Issue(b.Context(), k)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := w.tokens.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
