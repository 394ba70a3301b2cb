package server

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	b := newBuckets(1, 1, 1, func() time.Time { return now })
	for i := range 3 * maxBuckets {
		if err := b.take(fmt.Sprint(i)); err != nil {
			t.Fatalf("take(%d) = %v", i, err)
		}
	}
	if len(b.all) > maxBuckets {
		t.Errorf("%d buckets, want at most %d", len(b.all), maxBuckets)
	}
	now = now.Add(time.Minute)
	_ = b.take("a new one")
	if len(b.all) != 1 {
		t.Errorf("%d buckets after a minute of quiet, want 1", len(b.all))
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::": "2001:db8:1:2::/64",
		"::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::/64", "nonsense": "nonsense",
	} {
		if got := network(in); got != want {
			t.Errorf("network(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	l := limitConns(nil, 8, nil)
	for i := range 2 {
		if !l.admit("a", false) {
			t.Fatalf("connection %d of an address is refused", i)
		}
	}
	if l.admit("a", false) {
		t.Error("an address got more than a quarter")
	}
	if !l.admit("a", true) {
		t.Error("a shared address got no more than a quarter")
	}
	l.leave("a")
	for i := range 6 {
		if !l.admit(fmt.Sprint(i), false) {
			t.Fatalf("address %d is refused", i)
		}
	}
	if l.admit("late", false) || l.admit("late", true) {
		t.Error("more than all were admitted")
	}
	l.leave("a")
	if !l.admit("late", false) || len(l.byAddr) != 8 {
		t.Errorf("after one left: %d addresses", len(l.byAddr))
	}
}

func TestClosedConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := limitConns(inner, 1, func(string) bool { return false })
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer dial().Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	refused := dial()
	defer refused.Close()
	next := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		next <- c
	}()
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("a connection above the limit was served")
	}
	_ = first.Close()
	_ = first.Close() // twice counts once
	defer dial().Close()
	if c := <-next; c != nil {
		_ = c.Close()
	}
	if l.open != 0 {
		t.Errorf("%d connections are counted, want 0", l.open)
	}
}
