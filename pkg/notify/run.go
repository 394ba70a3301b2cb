package notify

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	writeEvery = time.Second      // items wait so long for others before the book is written
	lookEvery  = 15 * time.Second // other processes may have left something
	saveTime   = 10 * time.Second // bound on one save of the book
)

// Run collects and sends until ctx ends, writes down what is left and returns.
func (n *Notifier) Run(ctx context.Context) error {
	n.init()
	var wg sync.WaitGroup
	for i, c := range n.Channels {
		wg.Go(func() { n.deliver(ctx, c, n.work[i]) })
	}
	n.collect(ctx)
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*saveTime)
	defer cancel()
	n.rejoin(last, true)
	if _, err := n.write(last, false); err != nil {
		n.Log.Warn("notices are lost", "err", err)
	}
	return nil
}

// Flush writes down and sends, once, what has been taken down, without
// gathering; for programs that end. Messages that cannot be sent keep for the
// next one. A store that hangs takes two thirds of the time at most, so that what
// is kept in memory is sent.
func (n *Notifier) Flush(ctx context.Context) error {
	n.init()
	part := func(f func(context.Context)) {
		third, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			third, cancel = context.WithTimeout(ctx, time.Until(end)/3)
		}
		defer cancel()
		f(third)
	}
	part(func(ctx context.Context) { n.rejoin(ctx, false) })
	var err error
	part(func(ctx context.Context) { _, err = n.write(ctx, true) })
	if err != nil {
		return err
	}
	errs := make([]error, len(n.Channels))
	var wg sync.WaitGroup
	for i, c := range n.Channels {
		wg.Go(func() { _, errs[i] = n.sendDue(ctx, c) })
	}
	wg.Wait()
	n.rejoin(ctx, false)
	return errors.Join(errs...)
}

// collect writes items into the book and makes messages of them.
func (n *Notifier) collect(ctx context.Context) {
	for {
		n.rejoin(ctx, false)
		next, err := n.write(ctx, false)
		if err != nil && ctx.Err() == nil {
			n.Log.Warn("notices cannot be written down yet", "err", err)
		}
		wait := lookEvery
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(n.now()), writeEvery))
		}
		// The second pause lets a burst gather, and bounds how often the book
		// is written.
		if !pause(ctx, wait, n.wake) || !pause(ctx, writeEvery, nil) {
			return
		}
	}
}

// write takes the queue into the book, and returns when to look again.
func (n *Notifier) write(ctx context.Context, flush bool) (next time.Time, err error) {
	es := n.take()
	var due []int // the channels that have something to send
	var open map[string]bool
	note := func(b *book) bool {
		seq, changed := b.Seq, false
		due = nil
		for _, e := range es {
			changed = b.note(e, n.Digest) || changed
		}
		open = make(map[string]bool, len(b.Troubles))
		for user := range b.Troubles {
			open[user] = true
		}
		next = b.compose(n, n.now(), flush)
		for i, c := range n.Channels {
			if b.due(c.Name(), n.now()) {
				due = append(due, i)
			}
		}
		return changed || b.Seq != seq
	}
	err = n.saving(ctx, note)
	if err != nil && n.leave() {
		err = n.saving(ctx, note)
	}
	if err != nil {
		n.back(es)
		return time.Time{}, err
	}
	n.mu.Lock()
	n.failing, n.open = time.Time{}, open
	for _, e := range n.queue { // taken down meanwhile
		n.presses(e)
	}
	n.mu.Unlock()
	for _, i := range due {
		nudge(n.work[i])
	}
	return next, nil
}
