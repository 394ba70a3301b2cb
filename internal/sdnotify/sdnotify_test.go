package sdnotify_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/keyrot/keyrot/internal/sdnotify"
)

func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func read(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sd") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	names := map[string]string{filepath.Join(dir, "n"): filepath.Join(dir, "n")}
	if runtime.GOOS == "linux" {
		names["\x00"+dir] = "@" + dir
	}
	for bound, name := range names {
		conn := listen(t, bound)
		getenv := func(v string) string {
			return map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"}[v]
		}
		if err := sdnotify.Notify(getenv, sdnotify.Ready); err != nil {
			t.Fatal(err)
		}
		if got := read(t, conn); got != "READY=1" {
			t.Errorf("read %q, want READY=1", got)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { sdnotify.Watchdog(ctx, getenv, func() bool { return true }); close(done) }()
		if got := read(t, conn); got != "WATCHDOG=1" {
			t.Errorf("read %q, want WATCHDOG=1", got)
		}
		stop()
		<-done
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	if err := sdnotify.Notify(none, sdnotify.Ready); err != nil {
		t.Errorf("Notify = %v, want nothing", err)
	}
	sdnotify.Watchdog(t.Context(), none, func() bool { return true }) // returns at once
	gone := func(string) string { return "/nonexistent/socket" }
	if err := sdnotify.Notify(gone, sdnotify.Ready); err == nil {
		t.Error("Notify to nobody succeeded")
	}
}
