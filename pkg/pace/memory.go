package pace

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// What was learnt is one setting of the store, which holds one account's users.
const (
	setting   = "iam.pace"
	fading    = 6 * time.Hour    // what is older says less and less
	forgotten = 24 * time.Hour   // and then nothing
	keepAgain = 10 * time.Second // between two saves
	notable   = 0.02             // a change of a rate that is worth a save, as a part of it
	saveTime  = 2 * time.Second  // bound on the store
)

// learnt is what AWS was found to accept of one action.
type learnt struct {
	Rate float64   `json:"rate"` // calls per second
	At   time.Time `json:"at"`   // when it was found
}

// memory is what the store is known to hold.
type memory struct {
	mu      sync.Mutex
	read    bool
	version int64
	known   map[rotate.Call]learnt
	begun   map[rotate.Call]float64 // the rates that were begun with
	saved   time.Time
}

// Recall returns what earlier processes have found, as [Budget.Found] does: the
// rates that a budget whose Most is most, and not zero, would begin with, and
// nothing that is too old to count.
func Recall(ctx context.Context, s rotate.Settings, most float64, now time.Time) (map[rotate.Call]float64, error) {
	known, _, err := recall(ctx, s, now)
	found := make(map[rotate.Call]float64, len(known))
	for c, l := range known {
		limit := most
		if slices.Contains(reads, c) {
			limit *= readsOf
		}
		found[c] = faded(l, limit, now)
	}
	return found, err
}

func recall(ctx context.Context, s rotate.Settings, now time.Time) (map[rotate.Call]learnt, int64, error) {
	known := map[rotate.Call]learnt{}
	raw, version, err := s.Setting(ctx, setting)
	if errors.Is(err, rotate.ErrNotFound) {
		return known, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		return map[rotate.Call]learnt{}, version, nil //nolint:nilerr // as good as nothing; it will be written over
	}
	for c, l := range known {
		if age := now.Sub(l.At); !(l.Rate > 0) || age > forgotten || age < -time.Hour {
			delete(known, c)
		}
	}
	return known, version, nil
}

// faded returns the rate to begin with: what was learnt, the closer to most the
// older it is.
func faded(l learnt, most float64, now time.Time) float64 {
	old := min(1, max(0, (now.Sub(l.At)-fading).Seconds()/(forgotten-fading).Seconds()))
	return l.Rate + max(0, most-l.Rate)*old
}

// Recall has the budget begin with what earlier processes have found, as the
// first Wait does. That it cannot be read is no failure: it will be found again.
func (b *Budget) Recall(ctx context.Context) {
	if b == nil || b.Settings == nil {
		return
	}
	b.init()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read {
		return
	}
	b.read = true
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	now := b.Now()
	known, version, err := recall(ctx, b.Settings, now)
	if err != nil {
		b.Log.Warn("the rates that IAM allows, as earlier processes learnt them, cannot be read", "err", err)
		return
	}
	b.known, b.version, b.begun = known, version, make(map[rotate.Call]float64, len(known))
	for c, l := range known {
		if k := b.buckets[c]; k != nil {
			b.begun[c] = faded(l, k.learn.most, now)
			k.begin(b.begun[c])
		}
	}
}

func (b *bucket) begin(rate float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.learn, b.tokens = settled(rate, b.learn.most), 1
}

// found returns the rate that the action is known to allow, and whether it was
// used to the full in the last hour.
func (b *bucket) found() (rate float64, used, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate, used = b.learn.rate, time.Since(b.waited) < time.Hour
	switch {
	case b.learn.safe > 0: // the test is not over
		rate = b.learn.safe
	case !b.learn.sure: // what AWS's bucket held may have helped
		rate *= share
	}
	return rate, used, b.learn.phase == hold || b.learn.phase == refine && b.learn.taken >= enough
}

// Flush remembers what was learnt last. It is for a process that ends.
func (b *Budget) Flush(ctx context.Context) {
	if b != nil {
		b.init()
		b.keep(ctx, true)
	}
}

// keep remembers what was learnt, at most every few seconds unless it is the
// last time. That it cannot be kept is no failure.
func (b *Budget) keep(ctx context.Context, last bool) {
	if b.Settings == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.Now()
	if age := now.Sub(b.saved); !b.read || !last && age >= 0 && age < keepAgain {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	err := b.save(ctx, now)
	if errors.Is(err, rotate.ErrConflict) { // another process learns, too
		if b.known, b.version, err = recall(ctx, b.Settings, now); err == nil {
			err = b.save(ctx, now)
		}
	}
	if err != nil {
		b.Log.Debug("the rates that IAM allows are not remembered", "err", err)
	}
}

// save writes what is news.
func (b *Budget) save(ctx context.Context, now time.Time) error {
	next, changed := b.next(now)
	if !changed {
		return nil
	}
	b.saved = now
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	version, err := b.Settings.SaveSetting(ctx, setting, raw, b.version)
	if err == nil {
		b.version, b.known = version, next
	}
	return err
}

// next returns what is to be remembered, and whether that is news.
func (b *Budget) next(now time.Time) (next map[rotate.Call]learnt, changed bool) {
	next = make(map[rotate.Call]learnt, len(calls))
	for _, c := range calls {
		was, had := b.known[c]
		if had {
			next[c] = was
		}
		rate, used, ok := b.buckets[c].found()
		old := used && now.Sub(was.At) > time.Hour
		moved := rate != b.begun[c] && // which has faded, and was not found
			(rate < was.Rate*(1-notable) || rate > was.Rate*(1+notable))
		if ok && (!had || old || moved) {
			next[c], changed = learnt{Rate: rate, At: now}, true
		}
	}
	return next, changed
}
