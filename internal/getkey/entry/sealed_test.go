package entry

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const apiKey = "krk_abcdefghijkl_0Lr6zqpNqJWb3ZKNRyMYYkDqWl2ZQ9f5Ju0QnnZ7dVq123456"

func TestFromAPIKey(t *testing.T) {
	t.Parallel()
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	want := new(big.Int)
	for _, c := range apiKey[secretAt : secretAt+digits] {
		want.Add(want.Mul(want, big.NewInt(base)), big.NewInt(int64(strings.IndexRune(base62, c))))
	}
	k, ok := FromAPIKey(apiKey)
	if !ok || new(big.Int).SetBytes(k[:]).Cmp(want) != 0 {
		t.Errorf("FromAPIKey = %x, %v, want %x", k[:], ok, want)
	}
	for name, key := range map[string]string{
		"nothing":            "",
		"a word":             "bench-key",
		"too short":          apiKey[1:],
		"too long":           apiKey + "x",
		"another prefix":     "krx_" + apiKey[4:],
		"no underscore":      strings.Replace(apiKey, "l_", "l-", 1),
		"a digit that is no": strings.Replace(apiKey, "Lr6z", "Lr-z", 1),
		"more than 256 bits": apiKey[:secretAt] + strings.Repeat("z", digits) + "123456",
	} {
		if k, ok := FromAPIKey(key); ok || k != (Key{}) {
			t.Errorf("%s: FromAPIKey = %x, %v, want nothing", name, k[:], ok)
		}
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	k, _ := FromAPIKey(apiKey)
	other := k
	other[0] ^= 1
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := Entry{Credential: Credential{AccessKeyID: "AKIA", SecretAccessKey: "verysecret", UserName: "ci", Expiration: at}, Token: "token", Next: at}
	what := What("https://a", "ci")
	sealed := k.Seal([nonceLen]byte{1}, what, &e)
	for _, secret := range []string{"secret", "AKIA", "token", "https"} {
		if bytes.Contains(sealed, []byte(secret)) {
			t.Errorf("%q can be read in %q", secret, sealed)
		}
	}
	var got Entry
	if !k.Open(sealed, what, &got) {
		t.Fatal("Open = false")
	}
	opt := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff(e, got, opt); diff != "" {
		t.Errorf("Open (-want +got):\n%s", diff)
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for _, tc := range []struct {
		name string
		k    Key
		what string
		raw  []byte
	}{
		{"another key", other, what, sealed},
		{"another user", k, What("https://a", "ci2"), sealed},
		{"another server", k, What("https://b", "ci"), sealed},
		{"a beginning of it", k, what[:5], sealed},
		{"nothing", k, what, nil},
		{"a part", k, what, sealed[:len(sealed)-1]},
		{"no more than a nonce", k, what, sealed[:nonceLen]},
		{"changed", k, what, changed},
	} {
		if tc.k.Open(tc.raw, tc.what, &got) {
			t.Errorf("%s: Open = true", tc.name)
		}
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	k, _ := FromAPIKey(apiKey)
	other := k
	other[31] ^= 1
	seen := map[string]bool{}
	for _, name := range []string{
		k.Name(What("a", "ci")), k.Name(What("a", "cI")), k.Name(What("ac", "i")), k.Name(What("b", "ci")),
		other.Name(What("a", "ci")),
	} {
		if seen[name] || len(name) != 32 || strings.Trim(name, "0123456789abcdef") != "" {
			t.Errorf("Name = %q, want 32 hexadecimal digits that no other has", name)
		}
		seen[name] = true
	}
	if !seen[k.Name(What("a", "ci"))] {
		t.Error("a name changes")
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	k, _ := FromAPIKey(apiKey)
	e := Entry{Credential: Credential{AccessKeyID: "AKIA", SecretAccessKey: "verysecret", UserName: "ci"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, e); strings.Contains(got, "verysecret") {
			t.Errorf("%s of an entry: %s", verb, got)
		}
		if got := fmt.Sprintf(verb, k); got != k.String() {
			t.Errorf("%s of a key: %s", verb, got)
		}
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	got, ok := Object(Field{Name: "a", Text: "x/y+"}, Field{Name: "b", JSON: "1"})
	if want := "{\n  \"a\": \"x/y+\",\n  \"b\": 1\n}\n"; !ok || got != want {
		t.Errorf("Object = %q, %v, want %q", got, ok, want)
	}
	for _, text := range []string{`a"b`, `a\b`, "a\nb", "\x7f", "é"} {
		if got, ok := Object(Field{Name: "a", Text: text}); ok {
			t.Errorf("Object of %q = %q, want it left to the encoder", text, got)
		}
	}
}
