package server

import (
	"net"
	"sync"
)

// connLimit closes connections above a number at once, so that whoever opens
// many takes memory from nobody, and no address takes them all.
type connLimit struct {
	net.Listener
	most, perAddr int

	mu     sync.Mutex
	open   int
	byAddr map[string]int
}

func limitConns(ln net.Listener, most int) *connLimit {
	if most <= 0 {
		most = defConnections
	}
	return &connLimit{Listener: ln, most: most, perAddr: max(1, most/4), byAddr: map[string]int{}}
}

// Accept implements net.Listener.
func (l *connLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := network(host(c.RemoteAddr().String()))
		if l.admit(who) {
			return &limitedConn{Conn: c, done: sync.OnceFunc(func() { l.leave(who) })}, nil
		}
		_ = c.Close() // no answer: writing one could block
	}
}

func (l *connLimit) admit(who string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most || l.byAddr[who] >= l.perAddr {
		return false
	}
	l.open++
	l.byAddr[who]++
	return true
}

func (l *connLimit) leave(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddr[who]--; l.byAddr[who] == 0 {
		delete(l.byAddr, who)
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
