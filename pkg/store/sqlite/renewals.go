package sqlite

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/store/content"
)

const (
	renewEvery = time.Second
	renewBatch = 500    // rows of one transaction, so that whoever else writes does not wait for long
	renewMost  = 10_000 // rows that wait, some 300 bytes each
)

// renewals are hand-outs of a key to callers that are in the index with it: only
// the time is new. They wait in memory for up to a second and are saved
// together, so that nobody who fetches a key waits for the disk because of them.
// What is lost with the process is the latest second of that time.
type renewals struct {
	save func(context.Context, [][]any) error
	stop chan struct{}
	once sync.Once // stop is closed
	wg   sync.WaitGroup
	turn chan struct{} // held by whoever saves

	mu     sync.Mutex
	rows   map[held][]any
	saving bool // somebody will look again
}

type held struct{ user, caller, key string }

func newRenewals(save func(context.Context, [][]any) error) *renewals {
	return &renewals{save: save, stop: make(chan struct{}), turn: make(chan struct{}, 1), rows: map[held][]any{}}
}

// add keeps a row to be saved. It reports false if there are too many.
func (r *renewals) add(ctx context.Context, h held, row []any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.rows[h]; !ok && len(r.rows) >= renewMost {
		return false
	}
	r.rows[h] = row
	if !r.saving {
		r.saving = true
		r.wg.Go(func() { r.run(context.WithoutCancel(ctx)) })
	}
	return true
}

// run saves what waits, again and again until nothing does.
func (r *renewals) run(ctx context.Context) {
	for {
		t := time.NewTimer(renewEvery)
		stopped := false
		select {
		case <-t.C:
		case <-r.stop:
			t.Stop()
			stopped = true
		}
		attempt, cancel := context.WithTimeout(ctx, commitWait)
		_ = r.flush(attempt) // what fails is tried again
		cancel()
		r.mu.Lock()
		r.saving = len(r.rows) > 0 && !stopped
		done := !r.saving
		r.mu.Unlock()
		if done {
			return
		}
	}
}

// flush saves what waits. What cannot be saved waits on.
func (r *renewals) flush(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turn }()
	r.mu.Lock()
	waiting := r.rows
	r.rows = map[held][]any{}
	r.mu.Unlock()
	var err error
	var names []held
	var rows [][]any
	for h, row := range waiting {
		names, rows = append(names, h), append(rows, row)
	}
	for len(rows) > 0 && err == nil {
		n := min(renewBatch, len(rows))
		if err = r.save(ctx, rows[:n]); err == nil {
			names, rows = names[n:], rows[n:]
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range names {
		if _, newer := r.rows[h]; !newer {
			r.rows[h] = rows[i]
		}
	}
	return err
}

// close saves what waits for the last time.
func (r *renewals) close() {
	r.once.Do(func() { close(r.stop) })
	r.wg.Wait()
}

// early is by how much sooner than after content.RepeatAfter a user's hand-outs
// are renewed, so that those of many users that began together do not stay so.
func early(user string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(user)) // never fails
	return time.Duration(h.Sum32()) % (content.RepeatAfter / 2)
}
