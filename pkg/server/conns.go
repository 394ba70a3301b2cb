package server

import (
	"net"
	"sync"
)

// tally counts what is open, in all and by address. Safe for concurrent use.
type tally struct {
	most int

	mu     sync.Mutex
	open   int
	byAddr map[string]int
}

// newTally counts up to most.
func newTally(most int) *tally { return &tally{most: most, byAddr: map[string]int{}} }

// admit counts one more of the address, if there is room. An address may take a
// quarter of what is free when it comes: it has no more than a third of what is
// left then. However many addresses take that, something is left for the next
// one. A shared address has no bound of its own.
func (t *tally) admit(addr string, shared bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if free := t.most - t.open; free <= 0 || !shared && t.byAddr[addr] >= max(1, free/3) {
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
