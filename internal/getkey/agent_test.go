package getkey

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEscaped(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"ci", "a+b=c,d.e@f-g_h", "a b&c=d#%\r\n\x00é", ""} {
		got, err := url.ParseQuery("u=" + escaped(user))
		if err != nil || got.Get("u") != user || strings.ContainsAny(escaped(user), "\r\n ") {
			t.Errorf("escaped(%q) = %q, which is read as %q, %v", user, escaped(user), got.Get("u"), err)
		}
	}
}

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
