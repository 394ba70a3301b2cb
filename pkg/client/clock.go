package client

import (
	"net/http"
	"sync"
	"time"
)

// skew is how far the clock of an attempt may have been off without being the
// reason that it was refused.
const skew = 10 * time.Second

// clock is the server's, which every Expiration and the date of every proof is
// judged by: this machine's may be wrong.
type clock struct {
	mu         sync.Mutex
	server, at time.Time // one instant, by the server's clock and by this machine's; zero: not known
}

// Time returns the time by the server's clock, as its latest answer told it, and
// by this machine's clock before the first one. It is safe for concurrent use.
func (c *Client) Time() time.Time {
	now := c.now()
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	if c.clock.at.IsZero() {
		return now
	}
	return c.clock.server.Add(now.Sub(c.clock.at))
}

// Ahead returns how far the server's clock is ahead of this machine's; zero if
// it is not known.
func (c *Client) Ahead() time.Duration {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	return c.clock.server.Round(0).Sub(c.clock.at.Round(0))
}

// UseAhead has the client begin with what [Client.Ahead] returned earlier.
func (c *Client) UseAhead(ahead time.Duration) {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.at = c.now()
	c.clock.server = c.clock.at.Add(ahead)
}

// learn takes the date of an answer that is keyrot's own, to a request that was
// sent at sent. A clock that may be right is taken for right; otherwise it is
// the latest that the date allows, so that nothing is used for too long.
func (c *Client) learn(answer http.Header, sent time.Time) {
	date, err := http.ParseTime(answer.Get("Date"))
	if err != nil || answer.Get("Age") != "" {
		return
	}
	now := c.now()
	latest := date.Add(time.Second) // a date is cut to seconds
	server := latest
	if !now.Before(date) && !now.After(latest.Add(now.Sub(sent))) {
		server = now
	}
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.server, c.clock.at = server, now
}
