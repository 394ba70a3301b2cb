package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
)

const (
	commitWait = 10 * time.Second // bounds a commit for callers without a deadline
	maxJoined  = 1024             // changes of one transaction
)

// commits collects changes while others are being committed, so that all of
// them share one transaction and one sync. Its methods are safe for concurrent
// use.
type commits struct {
	commit func(context.Context, []*change) error // one transaction; all or nothing
	turn   chan struct{}                          // held by the caller that commits

	mu      sync.Mutex
	joining *group
}

// change is what one caller changes. What do returns is either a refusal, before
// which nothing was written that matters, or it fails the whole transaction. It
// may be called again if that is so.
type change struct {
	do      func(context.Context, *sql.Tx) error
	left    atomic.Bool // the caller no longer waits
	refused error
}

// group is what one transaction changes.
type group struct {
	changes []*change
	done    chan struct{} // closed when the changes are made, refused or failed
	errs    map[*change]error
}

func newCommits(commit func(context.Context, []*change) error) *commits {
	return &commits{commit: commit, turn: make(chan struct{}, 1), joining: newGroup()}
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// add returns once the change is committed, with others. If ctx ends first, the
// change is left out, unless it has begun: then it may still be made. What do
// has set may be read only if add returns nil.
func (c *commits) add(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mine := &change{do: do}
	for {
		c.mu.Lock()
		g := c.joining
		joins := len(g.changes) < maxJoined // while a disk hangs, others join and leave
		if joins {
			g.changes = append(g.changes, mine)
		}
		c.mu.Unlock()
		select {
		case <-g.done:
		case c.turn <- struct{}{}:
			c.finish(ctx, g)
			<-c.turn
		case <-ctx.Done():
			mine.left.Store(true)
			return ctx.Err()
		}
		if joins {
			return g.errs[mine]
		}
	}
}

// finish commits the group unless that is done. The turn is held.
func (c *commits) finish(ctx context.Context, g *group) {
	c.mu.Lock()
	if c.joining != g { // it was committed when its turn came
		c.mu.Unlock()
		<-g.done
		return
	}
	c.joining = newGroup()
	c.mu.Unlock()
	defer close(g.done)
	// The caller that commits must not fail the others by leaving, but keeps to
	// its deadline.
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(commitWait)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	g.errs = c.try(ctx, g.changes)
}

// try commits the changes, each by itself if they cannot be committed together,
// and returns the errors of those that were refused or have failed.
func (c *commits) try(ctx context.Context, all []*change) map[*change]error {
	errs := map[*change]error{}
	err := cutShort(ctx, c.commit(ctx, all))
	if err != nil && len(all) > 1 && ctx.Err() == nil {
		for _, one := range all {
			for ch, err := range c.try(ctx, []*change{one}) {
				errs[ch] = err
			}
		}
		return errs
	}
	for _, ch := range all {
		if err != nil {
			errs[ch] = err
		} else if ch.refused != nil {
			errs[ch] = ch.refused
		}
	}
	return errs
}

// transact makes the changes in one transaction.
func (s *Store) transact(ctx context.Context, all []*change) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	made := false
	for _, c := range all {
		if c.left.Load() {
			continue
		}
		switch c.refused = c.do(ctx, tx); {
		case c.refused == nil:
			made = true
		case !isRefusal(c.refused):
			return c.refused
		}
	}
	if !made {
		return nil
	}
	return tx.Commit()
}

// isRefusal reports whether a change was not made for what the store holds.
func isRefusal(err error) bool {
	return errors.Is(err, rotate.ErrConflict) || errors.Is(err, rotate.ErrLeased) || errors.Is(err, seal.ErrWrongKey)
}
