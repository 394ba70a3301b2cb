package quick

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// listen starts an agent that takes one connection.
func listen(t *testing.T, answer func(net.Conn)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := ln.Accept(); err == nil {
			defer func() { _ = conn.Close() }()
			answer(conn)
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return socket
}

func TestExchange(t *testing.T) {
	t.Parallel()
	asked := make([]byte, 16)
	socket := listen(t, func(c net.Conn) {
		n, _ := c.Read(asked)
		asked = asked[:n]
		for range 3 { // in pieces, more than fits at first
			_, _ = c.Write([]byte(strings.Repeat("x", 3000)))
		}
	})
	got, err := exchange(socket, []byte("hello"), 60_000)
	if err != nil || len(got) != 9000 || string(asked) != "hello" {
		t.Errorf("exchange = %d bytes, %v, and the agent was asked %q", len(got), err, asked)
	}
	socket = listen(t, func(c net.Conn) {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	if got, err := exchange(socket, nil, 60_000); err == nil && len(got) > maxAnswer {
		t.Errorf("an answer without end: %d bytes", len(got))
	}
	stop := make(chan struct{})
	socket = listen(t, func(net.Conn) { <-stop })
	if _, err := exchange(socket, nil, 50); err == nil {
		t.Error("an agent that hangs: no error")
	}
	close(stop)
	if _, err := exchange(filepath.Join(t.TempDir(), "none"), nil, 60_000); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v, want ErrNotExist", err)
	}
	if _, err := exchange("/"+strings.Repeat("x", 500), nil, 60_000); err == nil {
		t.Error("a path too long for a socket: no error")
	}
}

// An agent that says no, or anything else that is not the user's working
// credential, is as if none were there.
func TestAsk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name         string
		answer       string
		user, format string
		mode         os.FileMode
		ok           bool
	}{
		{"the credential", Answer("text\n"), "ci", "json", 0o600, true},
		{"a piece of it", Answer("text\n")[:headLen+3], "ci", "json", 0o600, false},
		{"more than it", Answer("text\n") + "x", "ci", "json", 0o600, false},
		{"an empty one", Answer(""), "ci", "json", 0o600, false},
		{"a length that is none", answering + "00000x\ntext\n", "ci", "json", 0o600, false},
		{"a reason", "keyrot: no\n", "ci", "json", 0o600, false},
		{"nothing", "", "ci", "json", 0o600, false},
		{"a socket that others may use", Answer("text\n"), "ci", "json", 0o666, false},
		{"a name that is two lines", Answer("text\n"), "ci\nci", "json", 0o600, false},
		{"a format that is two words", Answer("text\n"), "ci", "json x", 0o600, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			socket := listen(t, func(c net.Conn) {
				asked := make([]byte, 100)
				n, _ := c.Read(asked)
				if string(asked[:n]) == "keyrot get-key 2 ci json eu-west-1\n" {
					_, _ = c.Write([]byte(tc.answer))
				}
			})
			if err := os.Chmod(socket, tc.mode); err != nil {
				t.Fatal(err)
			}
			if got, ok := Ask(socket, tc.user, tc.format, "eu-west-1"); ok != tc.ok || ok && got != "text\n" {
				t.Errorf("Ask = %q, %v, want %v", got, ok, tc.ok)
			}
		})
	}
	socket := listen(t, func(net.Conn) {})
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	if !private(socket, me()) || runtime.GOOS != "windows" && private(socket, me()+1) {
		t.Error("private must tell our own sockets from other users'")
	}
	if _, ok := Ask(filepath.Join(t.TempDir(), "none"), "ci", "json", ""); ok {
		t.Error("no agent: ok")
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9, 10, 1234, maxAnswer - headLen} {
		want := strings.Repeat("x", n)
		if got, ok := answered([]byte(Answer(want))); !ok || got != want {
			t.Errorf("an answer of %d bytes is %d bytes, %v", n, len(got), ok)
		}
	}
	if got := Answer(strings.Repeat("x", maxAnswer)); got != "" {
		t.Errorf("too much: an answer of %d bytes, want none", len(got))
	}
}

func FuzzAnswered(f *testing.F) {
	f.Add([]byte(Answer("text")))
	f.Add([]byte(answering + "999999\nx"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if text, ok := answered(raw); ok && Answer(text) != string(raw) {
			t.Errorf("%q is an answer, but not that of %q", raw, text)
		}
	})
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 1024, 5000} {
		want := strings.Repeat("x", size)
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(path); err != nil || string(got) != want {
			t.Errorf("ReadFile of %d bytes = %d bytes, %v", size, len(got), err)
		}
	}
	if _, err := ReadFile(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile of nothing = %v", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("ReadFile of a folder: no error")
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "a", "/", "/a", "/a/b", "a/b", "a/", "./a", "../a"} {
		if got := IsAbs(p); got != filepath.IsAbs(p) {
			t.Errorf("IsAbs(%q) = %v", p, got)
		}
		if want := filepath.Base(p); p != "" && !strings.HasSuffix(p, "/") && Base(p) != want {
			t.Errorf("Base(%q) = %q, want %q", p, Base(p), want)
		}
	}
	if got, want := Join("/a", "b"), filepath.Join("/a", "b"); got != want {
		t.Errorf("Join = %q, want %q", got, want)
	}
}

func TestCacheDir(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ keyrot, xdg, home, linux string }{
		{"/k", "/x", "/h", "/k"},
		{"", "/x", "/h", "/x/keyrot"},
		{"", "x", "/h", ""},
		{"", "", "/h", "/h/.cache/keyrot"},
		{"", "", "", ""},
	} {
		vars := map[string]string{"KEYROT_CACHE_DIR": tc.keyrot, "XDG_CACHE_HOME": tc.xdg, "HOME": tc.home}
		if got := CacheDir(func(name string) string { return vars[name] }); runtime.GOOS == "linux" && got != tc.linux {
			t.Errorf("CacheDir with %v = %q, want %q", vars, got, tc.linux)
		}
	}
	want := "" // as package os sees this very process
	if dir, err := os.UserCacheDir(); err == nil {
		want = filepath.Join(dir, "keyrot")
	}
	if got := CacheDir(func(name string) string {
		if name == "KEYROT_CACHE_DIR" {
			return ""
		}
		return os.Getenv(name)
	}); got != want {
		t.Errorf("CacheDir = %q, want %q", got, want)
	}
}
