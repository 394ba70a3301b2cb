package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// How long the daemon stays although the store or the audit log fails without a
// break, by the monotonic clock. Most disks are back before, and then it goes
// on by itself.
const (
	endAfter     = 10 * time.Minute
	endIdle      = 5 * time.Minute // and nothing that was promised is left for so long
	endAfterKept = time.Hour       // and hand-outs wait to be recorded, which end with the process
	vitalEvery   = 5 * time.Second // how often that is looked at
	endTime      = time.Minute     // for everything to end; a disk that hangs can prevent it
)

// vital knows since when a part has failed that the daemon cannot do without.
// It is safe for concurrent use.
type vital struct {
	name, hint string

	mu    sync.Mutex
	calls int       // under way
	since time.Time // when the first call began that did not succeed; zero: the latest succeeded
	err   error     // of the latest that failed
}

// begin is called before a call and its result with what the call answered:
// nil if the part is well.
func (v *vital) begin() (end func(error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if v.since.IsZero() {
		v.since = time.Now()
	}
	return func(err error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.calls--
		switch {
		case err == nil:
			v.since, v.err = time.Time{}, nil
		case !errors.Is(err, context.Canceled):
			v.err = err
		case v.calls == 0 && v.err == nil: // the caller is gone: that says nothing
			v.since = time.Time{}
		}
	}
}

// failing returns for how long the part has failed, and with what.
func (v *vital) failing() (time.Duration, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.since.IsZero() {
		return 0, nil
	}
	err := v.err
	if err == nil {
		err = errors.New("it does not answer")
	}
	return time.Since(v.since), err
}

// vitalAudit tells how an audit log is.
type vitalAudit struct {
	rotate.Audit
	v *vital
}

// Append implements [rotate.Audit].
func (a vitalAudit) Append(ctx context.Context, e rotate.Event) error {
	end := a.v.begin()
	err := a.Audit.Append(ctx, e)
	end(err)
	return err
}

// vitalStore tells how a store is, by the calls that the scheduler makes all the
// time.
type vitalStore struct {
	rotate.Store
	reads, writes *vital
}

// Due implements [rotate.Store].
func (s vitalStore) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	end := s.reads.begin()
	users, err := s.Store.Due(ctx, t, creates, limit)
	end(err)
	return users, err
}

// List implements [rotate.Store].
func (s vitalStore) List(ctx context.Context) ([]rotate.Entry, error) {
	end := s.reads.begin()
	all, err := s.Store.List(ctx)
	end(err)
	return all, err
}

// Changes implements [rotate.Store].
func (s vitalStore) Changes(ctx context.Context, mark int64) (rotate.Changes, error) {
	end := s.reads.begin()
	c, err := s.Store.Changes(ctx, mark)
	end(err)
	return c, err
}

// Acquire implements [rotate.Store].
func (s vitalStore) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	end := s.writes.begin()
	version, err := s.Store.Acquire(ctx, user, owner, now, ttl)
	if errors.Is(err, rotate.ErrLeased) { // it is an answer, though not to a write
		end(nil)
	} else {
		end(err)
	}
	return version, err
}

// guard ends a daemon that can do nothing for anybody any more, so that its
// supervisor starts another: what cannot be healed from within, such as a file
// system that was mounted anew, may be by that.
type guard struct {
	Parts    []*vital
	Promised func() int // users for whom something can be handed out from memory
	Kept     func() int // hand-outs that wait to be recorded
}

// Run looks until ctx ends, or returns why the daemon must. It looks twice: a
// disk may just be back, and the parts learn of that one after the other.
func (g *guard) Run(ctx context.Context) error {
	t := time.NewTicker(vitalEvery)
	defer t.Stop()
	served := time.Now()
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if g.Promised() > 0 {
			served = time.Now()
		}
		err := g.hopeless()
		if err == nil || time.Since(served) < endIdle {
			looks = 0
		} else if looks++; looks > 1 {
			return err
		}
	}
}

// hopeless returns what has failed for too long.
func (g *guard) hopeless() error {
	limit := endAfter
	if g.Kept() > 0 {
		limit = endAfterKept
	}
	for _, v := range g.Parts {
		if d, err := v.failing(); d >= limit {
			// As text: whatever it is, it is not how keyrot was called.
			return hint.Wrap(fmt.Errorf("%s has failed for %s, and nothing that was promised is left: %s",
				v.name, d.Round(time.Second), err.Error()), v.hint)
		}
	}
	return nil
}

// vitals are the parts that a daemon of these settings cannot do without.
func vitals(cfg config.Config) (log, reads, writes *vital) {
	const again = "keyrot ends so that its supervisor starts it again; "
	where := "store " + cfg.Store.Path
	if cfg.Store.Table != "" {
		where = "table " + cfg.Store.Table
	}
	log = &vital{name: "the audit log " + cfg.Audit.Path, hint: again +
		"look at its disk, then at the log: if it was damaged, move it away and keep it, and keyrot writes a new one"}
	if cfg.Store.Table != "" {
		log = &vital{name: "the audit log in the " + where, hint: again + "look at the table and at keyrot's permissions"}
	}
	reads = &vital{name: "reading the " + where, hint: again + "look at the store: what is in it is needed, so repair it or restore it"}
	writes = &vital{name: "writing to the " + where, hint: again + "look at the store and at its disk"}
	return log, reads, writes
}

// within calls f, and gives it up after d: what hangs in a system call cannot be
// ended otherwise.
func within(d time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("not all of it has ended within %s", d)
	}
}
