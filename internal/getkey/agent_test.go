package getkey

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// answering is an agent that takes one connection.
func answering(t *testing.T, answer func(net.Conn)) (socket string) {
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
	socket := answering(t, func(c net.Conn) {
		n, _ := c.Read(asked)
		asked = asked[:n]
		for range 3 { // in pieces, more than fits at first
			_, _ = c.Write([]byte(strings.Repeat("x", 3000)))
		}
	})
	got, err := exchange(socket, []byte("hello"), time.Minute)
	if err != nil || len(got) != 9000 || string(asked) != "hello" {
		t.Errorf("exchange = %d bytes, %v, and the agent was asked %q", len(got), err, asked)
	}
	socket = answering(t, func(c net.Conn) {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	if got, err := exchange(socket, nil, time.Minute); err == nil && len(got) > maxAnswer {
		t.Errorf("an answer without end: %d bytes", len(got))
	}
	stop := make(chan struct{})
	socket = answering(t, func(net.Conn) { <-stop })
	if _, err := exchange(socket, nil, 50*time.Millisecond); err == nil {
		t.Error("an agent that hangs: no error")
	}
	close(stop)
	if _, err := exchange(filepath.Join(t.TempDir(), "none"), nil, time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v, want ErrNotExist", err)
	}
	if _, err := exchange("/"+strings.Repeat("x", 500), nil, time.Minute); err == nil {
		t.Error("a path too long for a socket: no error")
	}
}

// An agent that says no, or anything else that is not the user's working
// credential, is as if none were there.
func TestFromAgent(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := Entry{Credential: api.Credential{AccessKeyID: "AKIAX", SecretAccessKey: "s", UserName: "ci", Expiration: now.Add(time.Hour)}}
	other, expired := good, good
	other.Credential.UserName = "eve"
	expired.Credential.Expiration = now
	for _, tc := range []struct {
		name   string
		answer []byte
		user   string
		mode   os.FileMode
		ok     bool
	}{
		{"the user's credential", good.Encode(), "ci", 0o600, true},
		{"another user's", other.Encode(), "ci", 0o600, false},
		{"an expired one", expired.Encode(), "ci", 0o600, false},
		{"a piece of one", good.Encode()[:40], "ci", 0o600, false},
		{"a reason", []byte("keyrot: no\n"), "ci", 0o600, false},
		{"nothing", nil, "ci", 0o600, false},
		{"a socket that others may use", good.Encode(), "ci", 0o666, false},
		{"a name that is two lines", good.Encode(), "ci\nci", 0o600, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			socket := answering(t, func(c net.Conn) {
				asked := make([]byte, 100)
				n, _ := c.Read(asked)
				if string(asked[:n]) == Asking+"ci\n" {
					_, _ = c.Write(tc.answer)
				}
			})
			if err := os.Chmod(socket, tc.mode); err != nil {
				t.Fatal(err)
			}
			s := Source{Socket: socket}
			if c, ok := s.fromAgent(tc.user); ok != tc.ok || ok && c != good.Credential && !c.Expiration.Equal(good.Credential.Expiration) {
				t.Errorf("fromAgent = %+v, %v, want %v", c, ok, tc.ok)
			}
		})
	}
	s := Source{Socket: filepath.Join(t.TempDir(), "none")}
	if _, ok := s.fromAgent("ci"); ok {
		t.Error("no agent: ok")
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 1024, 5000} {
		want := strings.Repeat("x", size)
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readFile(path); err != nil || string(got) != want {
			t.Errorf("readFile of %d bytes = %d bytes, %v", size, len(got), err)
		}
	}
	if _, err := readFile(path + "x"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("readFile of nothing = %v", err)
	}
	if _, err := readFile(t.TempDir()); err == nil {
		t.Error("readFile of a folder: no error")
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
