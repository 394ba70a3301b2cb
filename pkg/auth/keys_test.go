package auth_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a settable clock.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(t0.UnixNano())
	return c
}
func (c *clock) Now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func mustCreate(t *testing.T, keys *auth.Keys, want auth.Key) (string, auth.Key) {
	t.Helper()
	secret, k, err := keys.Create(t.Context(), want)
	if err != nil {
		t.Fatalf("Create(%+v): %v", want, err)
	}
	return secret, k
}

var reader = auth.Key{Name: "test", Users: []string{"*"}, Role: auth.Reader}

func TestKeyLooksLikeOne(t *testing.T) {
	t.Parallel()
	st := newSettings()
	keys := &auth.Keys{Settings: st}
	secret, k := mustCreate(t, keys, reader)
	if !regexp.MustCompile(`^krk_[a-z2-7]{12}_[0-9A-Za-z]{49}$`).MatchString(secret) {
		t.Errorf("Create() = a key of unexpected shape, length %d", len(secret))
	}
	if !strings.Contains(secret, k.ID) {
		t.Errorf("the key does not hold its id %q", k.ID)
	}
	for name, v := range st.values {
		if bytes.Contains(v, []byte(secret[17:])) {
			t.Errorf("setting %q holds the key itself", name)
		}
	}
	again, _ := mustCreate(t, keys, reader)
	if again == secret {
		t.Error("Create() twice = the same key")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	clk := newClock()
	keys := &auth.Keys{Settings: newSettings(), Now: clk.Now}
	good, goodKey := mustCreate(t, keys, reader)
	other, _ := mustCreate(t, keys, reader)
	short, _ := mustCreate(t, keys, auth.Key{Users: []string{"*"}, Role: auth.Reader, Expires: t0.Add(time.Minute)})
	revoked, revokedKey := mustCreate(t, keys, reader)
	if err := keys.Revoke(t.Context(), revokedKey.ID); err != nil {
		t.Fatal(err)
	}
	stranger, _ := mustCreate(t, &auth.Keys{Settings: newSettings()}, reader)
	clk.advance(time.Hour)

	flip := func(s string, i int) string {
		b := []byte(s)
		b[i] = '0' + (b[i]-'0'+1)%10
		return string(b)
	}
	for _, tc := range []struct {
		name, key string
		want      error
	}{
		{"a fresh key is good", good, nil},
		{"nothing is refused", "", auth.ErrBadKey},
		{"only the prefix is refused", "krk_", auth.ErrBadKey},
		{"an expired key is refused", short, auth.ErrBadKey},
		{"a revoked key is refused", revoked, auth.ErrBadKey},
		{"a key of another installation is refused", stranger, auth.ErrBadKey},
		{"one changed character is refused", flip(good, 30), auth.ErrBadKey},
		{"a changed checksum is refused", flip(good, len(good)-1), auth.ErrBadKey},
		{"another key's secret under this id is refused", good[:17] + other[17:], auth.ErrBadKey},
		{"a longer key is refused", good + "0", auth.ErrBadKey},
		{"surrounding space is refused", " " + good, auth.ErrBadKey},
		{"a huge key is refused", strings.Repeat("krk_", 1<<18), auth.ErrBadKey},
		{"the id alone is refused", goodKey.ID, auth.ErrBadKey},
	} {
		if _, err := keys.Check(t.Context(), tc.key); !errors.Is(err, tc.want) {
			t.Errorf("%s: Check = %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestFixedKey(t *testing.T) {
	t.Parallel()
	keys := &auth.Keys{Settings: newSettings(), Fixed: []auth.Key{auth.FixedKey("sandbox", "hunter2", []string{"demo-*"}, auth.Reader)}}
	k, err := keys.Check(t.Context(), "hunter2")
	if err != nil || k.ID != "sandbox" || !k.MayRead("demo-app") || k.MayRead("root") {
		t.Errorf("Check(fixed key) = %+v, %v", k, err)
	}
	if _, err := keys.Check(t.Context(), "hunter3"); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check(another) = %v, want ErrBadKey", err)
	}
	if k, err := keys.ByID(t.Context(), "sandbox"); err != nil || k.Role != auth.Reader {
		t.Errorf("ByID(sandbox) = %+v, %v", k, err)
	}
}

func TestRevocationIsSeenByOtherProcesses(t *testing.T) {
	t.Parallel()
	st, clk := newSettings(), newClock()
	here, there := &auth.Keys{Settings: st, Now: clk.Now}, &auth.Keys{Settings: st, Now: clk.Now}
	secret, k := mustCreate(t, here, reader)
	if _, err := there.Check(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := here.Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Check(t.Context(), secret); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check where it was revoked = %v, want ErrBadKey at once", err)
	}
	clk.advance(time.Second)
	if _, err := there.Check(t.Context(), secret); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check elsewhere after 1 s = %v, want ErrBadKey", err)
	}
	if err := here.Revoke(t.Context(), k.ID); err != nil {
		t.Errorf("Revoke twice = %v, want nil", err)
	}
	if err := here.Revoke(t.Context(), "nobody"); !errors.Is(err, auth.ErrNoSuchKey) {
		t.Errorf("Revoke(nobody) = %v, want ErrNoSuchKey", err)
	}
}

func TestCheckReadsTheStoreOncePerSecond(t *testing.T) {
	t.Parallel()
	st, clk := newSettings(), newClock()
	keys := &auth.Keys{Settings: st, Now: clk.Now}
	secret, _ := mustCreate(t, keys, reader)
	check := func() {
		t.Helper()
		if _, err := keys.Check(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		check()
	}
	if got := st.readCount(); got != 1 {
		t.Errorf("100 checks read the store %d times, want 1", got)
	}
	clk.advance(time.Second)
	check()
	clk.advance(-time.Minute) // the clock steps back
	check()
	if got := st.readCount(); got != 3 {
		t.Errorf("reads = %d, want 3: a record must not outlive its age whichever way the clock goes", got)
	}
}

func TestStoreTroubleIsNotABadKey(t *testing.T) {
	t.Parallel()
	st, clk := newSettings(), newClock()
	keys := &auth.Keys{Settings: st, Now: clk.Now}
	secret, k := mustCreate(t, keys, reader)
	broken := errors.New("disk on fire")
	st.breakWith(broken)
	if _, err := keys.Check(t.Context(), secret); !errors.Is(err, broken) || errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check = %v, want the store's error", err)
	}
	if _, err := keys.List(t.Context()); !errors.Is(err, broken) {
		t.Errorf("List = %v, want the store's error", err)
	}
	if err := keys.Revoke(t.Context(), k.ID); !errors.Is(err, broken) {
		t.Errorf("Revoke = %v, want the store's error", err)
	}
	if _, _, err := keys.Create(t.Context(), reader); !errors.Is(err, broken) {
		t.Errorf("Create = %v, want the store's error", err)
	}
	st.breakWith(nil)
	st.values["apikey/"+k.ID] = []byte("{")
	if _, err := keys.Check(t.Context(), secret); err == nil || errors.Is(err, auth.ErrBadKey) {
		t.Errorf("Check of a corrupt record = %v, want a decoding error", err)
	}
}

func TestRevokeLosesToAnotherWriter(t *testing.T) {
	t.Parallel()
	st := newSettings()
	keys := &auth.Keys{Settings: st}
	_, k := mustCreate(t, keys, reader)
	racing := &racingSettings{settings: st, name: "apikey/" + k.ID}
	if err := (&auth.Keys{Settings: racing}).Revoke(t.Context(), k.ID); !errors.Is(err, rotate.ErrConflict) {
		t.Errorf("Revoke = %v, want ErrConflict", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	keys := &auth.Keys{Settings: newSettings(), Now: newClock().Now}
	for _, tc := range []struct {
		name string
		key  auth.Key
		want string
	}{
		{"an unknown role", auth.Key{Users: []string{"*"}, Role: "root"}, `role "root"`},
		{"a reader without users", auth.Key{Role: auth.Reader}, "no users"},
		{"a malformed pattern", auth.Key{Users: []string{"a["}, Role: auth.Reader}, `user pattern "a["`},
		{"an empty pattern", auth.Key{Users: []string{""}, Role: auth.Reader}, `user pattern ""`},
		{"an expiry in the past", auth.Key{Users: []string{"*"}, Role: auth.Reader, Expires: t0}, "in the past"},
	} {
		if _, _, err := keys.Create(t.Context(), tc.key); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Create = %v, want an error with %q", tc.name, err, tc.want)
		}
	}
	all, err := keys.List(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("List after refusals = %d keys, %v, want none", len(all), err)
	}
}

func TestMayRead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		users []string
		role  auth.Role
		user  string
		want  bool
	}{
		{"a name allows that user", []string{"ci"}, auth.Reader, "ci", true},
		{"a name allows no longer name", []string{"ci"}, auth.Reader, "ci2", false},
		{"a name is case-sensitive", []string{"CI"}, auth.Reader, "ci", false},
		{"a pattern allows what it matches", []string{"x", "ci-*"}, auth.Reader, "ci-prod", true},
		{"a pattern allows nothing else", []string{"ci-*"}, auth.Reader, "prod-ci-", false},
		{"a star allows all", []string{"*"}, auth.Operator, "any@x.y", true},
		{"a viewer reads nothing", []string{"*"}, auth.Viewer, "ci", false},
		{"no role reads nothing", []string{"*"}, "", "ci", false},
		{"no users allow nobody", nil, auth.Reader, "ci", false},
	} {
		if got := (auth.Key{Users: tc.users, Role: tc.role}).MayRead(tc.user); got != tc.want {
			t.Errorf("%s: MayRead(%q) = %t, want %t", tc.name, tc.user, got, tc.want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	keys := &auth.Keys{Settings: newSettings()}
	good, _, err := keys.Create(f.Context(), reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1])
	f.Add("krk_")
	f.Add("krk_aaaaaaaaaaaa_")
	f.Fuzz(func(t *testing.T, key string) {
		_, err := keys.Check(t.Context(), key)
		if (err == nil) != (key == good) {
			t.Errorf("Check(%q) = %v", key, err)
		}
	})
}
