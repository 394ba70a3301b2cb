package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"runtime"
	"sync"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// cacheBytes bounds what the cached entries have in the file. Decoded and opened
// they take about as much again: 5,000 users in the middle of a rotation need
// half of it.
const cacheBytes = 20 << 20

// cache keeps entries as they were decoded until they are saved anew. Each Load
// asks for the versions that were given out since the latest asking, so that
// what it returns is never older than the Load; Loads that wait side by side
// share one asking. What is saved for one user costs the others nothing.
type cache struct {
	conn    *sql.Conn
	changed *sql.Stmt

	turn chan struct{} // held by whoever asks

	mu      sync.Mutex
	joining *asking
	// mark is the store's version that the entries are known to be current at:
	// none of them was saved anew or removed up to it.
	mark    int64
	entries map[string]cached
	bytes   int // of all entries
}

// cached is an entry, and what it has in the file.
type cached struct {
	entry rotate.Entry
	bytes int
}

// asking is one reading of what has changed that several Loads wait for.
type asking struct {
	done chan struct{} // closed when err is set
	err  error
}

func newAsking() *asking { return &asking{done: make(chan struct{})} }

func newCache() *cache {
	return &cache{turn: make(chan struct{}, 1), joining: newAsking(), entries: map[string]cached{}}
}

func openCache(ctx context.Context, db *sql.DB) (*cache, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// One statement, one snapshot: a row of the head, with each entry or none.
	changed, err := conn.PrepareContext(ctx, `SELECT h.version, h.removed, e.user, e.version
		FROM head h LEFT JOIN entries e ON e.version > ?`)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	c := newCache()
	c.conn, c.changed = conn, changed
	if err := conn.QueryRowContext(ctx, `SELECT version FROM head`).Scan(&c.mark); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cache) close() {
	_ = c.changed.Close() // nothing was written through it
	_ = c.conn.Close()
}

// refresh drops what was saved anew or removed before the call began.
func (c *cache) refresh(ctx context.Context) error {
	c.mu.Lock()
	a := c.joining
	c.mu.Unlock()
	runtime.Gosched() // whoever is about to ask too may join
	select {
	case <-a.done:
	case c.turn <- struct{}{}:
		c.ask(ctx, a)
		<-c.turn
	case <-ctx.Done():
		return ctx.Err()
	}
	return a.err
}

// ask answers a and all who joined it. The turn is held.
func (c *cache) ask(ctx context.Context, a *asking) {
	c.mu.Lock()
	if c.joining != a { // it was answered when the turn came
		c.mu.Unlock()
		<-a.done
		return
	}
	c.joining = newAsking() // who comes from now on may need a later answer
	since := c.mark
	c.mu.Unlock()
	defer close(a.done)
	// The context of the one who asks must not fail the others.
	ctx = context.WithoutCancel(ctx)
	s, err := c.since(ctx, since)
	// Versions grow, but for a store that was put back; who was removed since is
	// told by who is left.
	whole := err == nil && (s.removed > since || s.version < since)
	if whole {
		s, err = c.since(ctx, 0)
	}
	if a.err = err; err == nil {
		c.follow(s, whole)
	}
}

// news is what a store says of itself.
type news struct {
	version int64            // the last one that was given out
	removed int64            // the one at which a user was last removed
	saved   map[string]int64 // versions of entries by user, of those after some version
}

func (c *cache) since(ctx context.Context, mark int64) (s news, err error) {
	err = query(ctx, c.changed, func(rows *sql.Rows) error {
		var user sql.NullString
		var version sql.NullInt64
		if err := rows.Scan(&s.version, &s.removed, &user, &version); err != nil || !user.Valid {
			return err
		}
		if s.saved == nil {
			s.saved = map[string]int64{}
		}
		s.saved[user.String] = version.Int64
		return nil
	}, mark)
	return s, err
}

// follow drops what the news say is old; whole: they name all users that there
// are. The turn is held.
func (c *cache) follow(s news, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark = s.version
	if whole {
		for user, e := range c.entries {
			if s.saved[user] != e.entry.Version {
				c.remove(user)
			}
		}
		return
	}
	for user, version := range s.saved {
		if c.entries[user].entry.Version != version {
			c.remove(user)
		}
	}
}

// get returns the user's entry if it is cached. What it was at the latest
// refresh that the caller saw, or later, is what it returns.
func (c *cache) get(user string) (rotate.Entry, bool) {
	c.mu.Lock()
	e, ok := c.entries[user]
	c.mu.Unlock()
	if !ok {
		return rotate.Entry{}, false
	}
	return clone(e.entry), true
}

// put caches an entry that was read when the store had given out that version.
// It is left out if it may have been saved anew since and that is forgotten.
func (c *cache) put(e rotate.Entry, version int64, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version < c.mark || bytes > cacheBytes {
		return
	}
	user := e.Record.User
	c.remove(user)
	// Users are often asked for in turn: the one that was not asked for the
	// longest is then the next one that is needed, so that any other goes.
	for other := range c.entries {
		if c.bytes+bytes <= cacheBytes {
			break
		}
		c.remove(other)
	}
	c.entries[user] = cached{clone(e), bytes}
	c.bytes += bytes
}

func (c *cache) drop(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(user)
}

// remove forgets the user's entry. mu is held.
func (c *cache) remove(user string) {
	c.bytes -= c.entries[user].bytes
	delete(c.entries, user)
}

// clone returns an entry that its owner may change.
func clone(e rotate.Entry) rotate.Entry {
	e.Record = e.Record.Clone()
	e.Secrets = maps.Clone(e.Secrets)
	return e
}
