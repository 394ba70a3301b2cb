package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyrot/keyrot/internal/hint"
)

func local(t testing.TB, b byte) *Local {
	t.Helper()
	l, err := NewLocal(bytes.Repeat([]byte{b}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLocal(t *testing.T) {
	t.Parallel()
	l, other := local(t, 1), local(t, 2)
	plain, aad := []byte("secret"), []byte("ann AKIA1")
	sealed, err := l.Seal(t.Context(), plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Seal(t.Context(), plain, aad)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gave the same bytes, %v", err)
	}
	if bytes.Contains(sealed, plain) {
		t.Error("the envelope holds the plaintext")
	}
	if got, err := l.Open(t.Context(), sealed, aad); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Open = %q, %v", got, err)
	}
	changed := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		return c
	}
	for _, c := range []struct {
		name   string
		s      *Local
		sealed []byte
		aad    string
		want   error
	}{
		{"another key", other, sealed, "ann AKIA1", ErrWrongKey},
		{"other associated data", l, sealed, "bob AKIA1", ErrWrongKey},
		{"no associated data", l, sealed, "", ErrWrongKey},
		{"changed ciphertext", l, changed(len(sealed) - 1), "ann AKIA1", ErrWrongKey},
		{"changed salt", l, changed(2 + len(l.id)), "ann AKIA1", ErrWrongKey},
		{"changed key id", l, changed(3), "ann AKIA1", ErrWrongKey},
		{"another version", l, changed(0), "ann AKIA1", ErrMalformed},
		{"empty", l, nil, "", ErrMalformed},
		{"cut in the key id", l, sealed[:5], "", ErrMalformed},
		{"cut in the salt", l, sealed[:2+len(l.id)+3], "", ErrMalformed},
		{"cut in the tag", l, sealed[:len(sealed)-1], "ann AKIA1", ErrWrongKey},
	} {
		if got, err := c.s.Open(t.Context(), c.sealed, []byte(c.aad)); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: Open = %q, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := NewLocal(make([]byte, 31)); err == nil {
		t.Error("a key of 31 bytes was accepted")
	}
}

func TestLocalIsNotPrinted(t *testing.T) {
	t.Parallel()
	l := local(t, 0x5a)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{l, struct{ Sealer Sealer }{l}} {
			out := fmt.Sprintf(verb, v)
			for _, leak := range []string{"5a5a5a", "90 90 90", "0x5a, 0x5a", "ZZZ"} {
				if strings.Contains(out, leak) {
					t.Errorf("Sprintf(%s) shows the key", verb)
				}
			}
		}
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "key")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := KeyFile(path)(t.Context(), "")
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.KeyID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("concurrent first starts got different keys: %q", ids)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("directory holds %v, %v, want the key alone", left, err)
	}
	if _, err := KeyFile(path)(t.Context(), ids[0]); err != nil {
		t.Errorf("with the recorded key: %v", err)
	}
	before, _ := os.ReadFile(path)
	_, err = KeyFile(path)(t.Context(), "local-other")
	if !errors.Is(err, ErrWrongKey) || hint.Of(err) == "" {
		t.Errorf("with another key recorded: %v, want %v and a hint", err, ErrWrongKey)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key file was changed")
	}
}

func TestKeyFileRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const good = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	if _, err := KeyFile(file("good", good, 0o400))(t.Context(), ""); err != nil {
		t.Errorf("read-only key file: %v", err)
	}
	for _, c := range []struct{ path, want string }{
		{file("world", good, 0o604), "mode 0604"},
		{file("group", good, 0o640), "mode 0640"},
		{file("text", "hunter2!", 0o600), "not base64"},
		{file("short", "AAAA", 0o600), "has 3 bytes"},
		{file("empty", "", 0o600), "has 0 bytes"},
		{dir, "not a regular file"},
		{filepath.Join(dir, "good", "key"), "key file"},
	} {
		_, err := KeyFile(c.path)(t.Context(), "")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("KeyFile(%s) = %v, want %q", filepath.Base(c.path), err, c.want)
		}
	}
	lost := filepath.Join(dir, "lost")
	if _, err := KeyFile(lost)(t.Context(), "local-1"); !errors.Is(err, ErrKeyMissing) || hint.Of(err) == "" {
		t.Errorf("lost key file: %v, want %v and a hint", err, ErrKeyMissing)
	}
	if _, err := os.Stat(lost); err == nil {
		t.Error("a lost key file was replaced")
	}
}

func TestKeyText(t *testing.T) {
	t.Parallel()
	const good = " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= "
	s, err := KeyText(good)(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fixed(s)(t.Context(), s.KeyID()); err != nil {
		t.Errorf("Fixed with the recorded key: %v", err)
	}
	if _, err := Fixed(s)(t.Context(), "local-1"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Fixed with another key recorded: %v", err)
	}
	if _, err := KeyText(good)(t.Context(), "local-1"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("KeyText with another key recorded: %v", err)
	}
	if _, err := KeyText("")(t.Context(), ""); !errors.Is(err, ErrKeyMissing) {
		t.Errorf("empty KeyText: %v, want %v", err, ErrKeyMissing)
	}
	if _, err := KeyText("hunter2!")(t.Context(), ""); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("KeyText of no base64: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	l := local(f, 1)
	sealed, err := l.Seal(f.Context(), []byte("secret"), []byte("aad"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Add([]byte{version, 255})
	f.Add(append(header(l.id), make([]byte, saltSize+overhead)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := l.Open(t.Context(), b, []byte("aad"))
		if err == nil && string(got) != "secret" { // the only value ever sealed with this key
			t.Errorf("opened a forgery: %x", b)
		}
		if err != nil && !errors.Is(err, ErrWrongKey) && !errors.Is(err, ErrMalformed) {
			t.Errorf("Open = %v, want a sentinel", err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	l := local(b, 1)
	sealed, err := l.Seal(b.Context(), []byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), []byte("aad"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Open(b.Context(), sealed, []byte("aad")); err != nil {
			b.Fatal(err)
		}
	}
}
