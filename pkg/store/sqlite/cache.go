package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"runtime"
	"sync"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// maxCached bounds how many entries are kept decoded and opened, at some 3 kB
// each.
const maxCached = 16_384

// maxJoined bounds what is done at once for callers that wait side by side.
const maxJoined = 1024

// cache keeps entries as they were decoded, for as long as they are not saved
// anew. That is asked for every Load, so that a cached entry is never older
// than the Load that returns it; requests that wait side by side share one
// asking. While nothing at all is committed to the file one question does for
// all users, otherwise each entry's version is compared.
type cache struct {
	conn    *sql.Conn // its data_version changes when another connection commits
	stmt    *sql.Stmt
	current *sql.Stmt // an entry's version

	turn    chan struct{} // held by whoever asks
	mu      sync.Mutex
	joining *asking
	entries map[string]fresh
}

// fresh is an entry and the data_version that it was the saved one at or after.
type fresh struct {
	at    int64
	entry rotate.Entry
}

// asking is one reading of data_version that several Loads wait for.
type asking struct {
	users   []string      // whom the Loads are for; under the cache's mu
	done    chan struct{} // closed when the rest is set
	version int64
	err     error
}

func newAsking() *asking { return &asking{done: make(chan struct{})} }

func openCache(ctx context.Context, db *sql.DB) (*cache, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	stmt, err := conn.PrepareContext(ctx, `PRAGMA data_version`)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	current, err := conn.PrepareContext(ctx, `SELECT version FROM entries WHERE user = ?`)
	if err != nil {
		_ = stmt.Close()
		_ = conn.Close()
		return nil, err
	}
	return &cache{conn: conn, stmt: stmt, current: current, turn: make(chan struct{}, 1), joining: newAsking(), entries: map[string]fresh{}}, nil
}

func (c *cache) close() {
	_ = c.stmt.Close() // nothing was written through them
	_ = c.current.Close()
	_ = c.conn.Close()
}

// version returns a data_version that was read after the call began. The user's
// entry, if it is cached and still the saved one, is marked as read then.
func (c *cache) version(ctx context.Context, user string) (int64, error) {
	c.mu.Lock()
	a := c.joining
	if len(a.users) < maxJoined { // while a disk hangs, others join and leave
		a.users = append(a.users, user)
	}
	c.mu.Unlock()
	runtime.Gosched() // whoever is about to ask too may join
	select {
	case <-a.done:
	case c.turn <- struct{}{}:
		c.ask(ctx, a)
		<-c.turn
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return a.version, a.err
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
	c.mu.Unlock()
	// The context of the one who asks must not fail the others.
	ctx = context.WithoutCancel(ctx)
	if a.err = c.stmt.QueryRowContext(ctx).Scan(&a.version); a.err == nil {
		for _, user := range a.users {
			c.confirm(ctx, user, a.version)
		}
	}
	close(a.done)
}

// confirm marks the user's entry as read at that version if it was not saved
// anew: an entry that is has a version of its own. The turn is held.
func (c *cache) confirm(ctx context.Context, user string, version int64) {
	c.mu.Lock()
	f, ok := c.entries[user]
	c.mu.Unlock()
	if !ok || f.at == version {
		return
	}
	var saved int64
	if err := c.current.QueryRowContext(ctx, user).Scan(&saved); err != nil {
		return // reading the entry anew will say what is wrong
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.entries[user]; ok && f.entry.Version == saved {
		f.at = version
		c.entries[user] = f
	}
}

// get returns the user's entry if it was read at that version.
func (c *cache) get(user string, version int64) (rotate.Entry, bool) {
	c.mu.Lock()
	f, ok := c.entries[user]
	c.mu.Unlock()
	if !ok || f.at != version {
		return rotate.Entry{}, false
	}
	return clone(f.entry), true
}

func (c *cache) put(user string, version int64, e rotate.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[user]; !ok && len(c.entries) >= maxCached {
		clear(c.entries)
	}
	c.entries[user] = fresh{version, clone(e)}
}

func (c *cache) drop(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, user)
}

// clone returns an entry that its owner may change.
func clone(e rotate.Entry) rotate.Entry {
	e.Record = e.Record.Clone()
	e.Secrets = maps.Clone(e.Secrets)
	return e
}
