package server

import (
	"net"
	"sync"
)

// tally counts what is open, in all and by address. Safe for concurrent use.
type tally struct {
	most, perAddr int

	mu     sync.Mutex
	open   int
	byAddr map[string]int
}

// newTally counts up to most, a quarter of them from one address.
func newTally(most int) *tally {
	return &tally{most: most, perAddr: max(1, most/4), byAddr: map[string]int{}}
}

// admit counts one more of the address, if there is room. A shared address has
// no bound of its own.
func (t *tally) admit(addr string, shared bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open >= t.most || !shared && t.byAddr[addr] >= t.perAddr {
		return false
	}
	t.open++
	t.byAddr[addr]++
	return true
}

func (t *tally) leave(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if t.byAddr[addr]--; t.byAddr[addr] == 0 {
		delete(t.byAddr, addr)
	}
}

// connLimit closes connections above a number at once, so that whoever opens
// many takes memory from nobody, and no address takes them all.
type connLimit struct {
	net.Listener
	*tally
	shared func(addr string) bool
}

// limitConns leaves an address that is shared, such as a proxy's, as many as
// there may be in all.
func limitConns(ln net.Listener, most int, shared func(addr string) bool) *connLimit {
	if most <= 0 {
		most = defConnections
	}
	return &connLimit{ln, newTally(most), shared}
}

// Accept implements net.Listener.
func (l *connLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := host(c.RemoteAddr().String())
		who := network(addr)
		if l.admit(who, l.shared(addr)) {
			return &limitedConn{Conn: c, done: sync.OnceFunc(func() { l.leave(who) })}, nil
		}
		_ = c.Close() // no answer: writing one could block
	}
}

type limitedConn struct {
	net.Conn
	done func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}
