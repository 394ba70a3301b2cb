package notify

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	writeEvery  = time.Second      // items wait so long for others before the book is written
	lookEvery   = 15 * time.Second // other processes may have left something
	sendTime    = 20 * time.Second // bound on one message through one channel
	claimTime   = time.Minute      // a message belongs so long to the process that sends it
	saveTime    = 10 * time.Second // bound on one save of the book
	firstRetry  = 5 * time.Second
	lastRetry   = 15 * time.Minute
	giveUpAfter = 48 * time.Hour
	directAfter = 30 * time.Second // troubles that cannot be written for so long are sent without the book
)

// Run collects and sends until ctx ends, writes down what is left and returns.
func (n *Notifier) Run(ctx context.Context) error {
	n.init()
	var wg sync.WaitGroup
	wg.Go(func() { n.deliver(ctx) })
	n.collect(ctx)
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	if _, err := n.write(last, false); err != nil {
		n.Log.Warn("notices are lost", "err", err)
	}
	return nil
}

// Flush writes down and sends, once, what has been taken down, without
// gathering; for programs that end. Messages that cannot be sent keep for the
// next one.
func (n *Notifier) Flush(ctx context.Context) error {
	n.init()
	if _, err := n.write(ctx, true); err != nil {
		return err
	}
	_, err := n.sendDue(ctx)
	return err
}

// collect writes items into the book and makes messages of them.
func (n *Notifier) collect(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		next, err := n.write(ctx, false)
		if err != nil && ctx.Err() == nil {
			n.Log.Warn("notices cannot be written down yet", "err", err)
			n.direct(ctx)
		}
		wait := lookEvery
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(n.now()), writeEvery))
		}
		if !n.pause(ctx, wait) {
			return
		}
		t.Reset(writeEvery) // lets a burst gather, and bounds how often the book is written
	}
}

// pause waits for d, or less if something is taken down.
func (n *Notifier) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-n.wake:
	case <-t.C:
	}
	return true
}

// write takes the queue into the book, and returns when to look again.
func (n *Notifier) write(ctx context.Context, flush bool) (next time.Time, err error) {
	es := n.take()
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	err = n.update(ctx, func(b *book) bool {
		before := b.Seq
		for _, e := range es {
			b.note(e, n.Digest)
		}
		next = b.compose(n, n.now(), flush)
		return len(es) > 0 || b.Seq != before
	})
	if err != nil {
		n.back(es)
		return time.Time{}, err
	}
	nudge(n.work)
	return next, nil
}

// direct sends troubles that could not be written down for a while: the store
// itself may be the trouble. They are noted as told once it can be written.
func (n *Notifier) direct(ctx context.Context) {
	now := n.now()
	n.mu.Lock()
	var items []Item
	for i := range n.queue {
		e := &n.queue[i]
		known := slices.ContainsFunc(n.queue[:i], func(o entry) bool { return o.Kind == Trouble && o.User == e.User && o.What == e.What })
		if e.Kind != Trouble || e.told || now.Sub(e.At) < directAfter {
			continue
		}
		e.told = true
		if !known && len(items) < maxItems {
			items = append(items, e.Item)
		}
	}
	n.mu.Unlock()
	if len(items) == 0 {
		return
	}
	m := (&book{Fresh: items}).newsOf(n.Instance, now)
	m.ID = "direct-" + now.Format("20060102t150405.000")
	for _, c := range n.Channels {
		n.send(ctx, c, m)
	}
}

// deliver sends what is in the outbox when it is due.
func (n *Notifier) deliver(ctx context.Context) {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	for {
		next, err := n.sendDue(ctx)
		if err != nil && ctx.Err() == nil {
			n.Log.Warn("looking for messages to send", "err", err)
		}
		wait := lookEvery
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(n.now()), writeEvery))
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-n.work:
		case <-t.C:
		}
	}
}

// sendDue claims what is due, sends it, and notes what has left. It returns
// when to look again; zero if nothing waits. A crash in between sends a message
// again once the claim has ended.
func (n *Notifier) sendDue(ctx context.Context) (next time.Time, err error) {
	var mine []parcel
	if err := n.saving(ctx, func(b *book) bool {
		mine, next = nil, time.Time{}
		now := n.now()
		for i := range b.Outbox {
			p := &b.Outbox[i]
			if now.Before(p.Next) {
				next = earliest(next, p.Next)
				continue
			}
			p.Tries++
			p.Next = now.Add(max(claimTime, time.Duration(len(p.Left))*sendTime))
			mine = append(mine, *p)
		}
		return len(mine) > 0
	}); err != nil || len(mine) == 0 {
		return next, err
	}
	left := map[string][]string{}
	for _, p := range mine {
		left[p.ID] = n.sendTo(ctx, p)
	}
	err = n.saving(context.WithoutCancel(ctx), func(b *book) bool {
		now := n.now()
		b.Outbox = slices.DeleteFunc(b.Outbox, func(p parcel) bool {
			rest, sent := left[p.ID]
			if sent && len(rest) > 0 && now.Sub(p.At) > giveUpAfter {
				n.Log.Error("a message is given up", "subject", p.Subject, "channels", rest)
				return true
			}
			return sent && len(rest) == 0
		})
		for i := range b.Outbox {
			p := &b.Outbox[i]
			if rest, sent := left[p.ID]; sent {
				p.Left, p.Next = rest, now.Add(retryIn(p.Tries))
			}
			next = earliest(next, p.Next)
		}
		return true
	})
	return next, err
}

func (n *Notifier) saving(ctx context.Context, change func(*book) bool) error {
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	return n.update(ctx, change)
}

// sendTo sends to the channels that are left, side by side, and returns those
// that did not take it. A channel that is not configured any more counts as
// done.
func (n *Notifier) sendTo(ctx context.Context, p parcel) []string {
	failed := make([]bool, len(n.Channels))
	var wg sync.WaitGroup
	for i, c := range n.Channels {
		if slices.Contains(p.Left, c.Name()) {
			wg.Go(func() { failed[i] = !n.send(ctx, c, p.Message) })
		}
	}
	wg.Wait()
	var left []string
	for i, c := range n.Channels {
		if failed[i] {
			left = append(left, c.Name())
		}
	}
	return left
}

func (n *Notifier) send(ctx context.Context, c Channel, m Message) bool {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := c.Send(ctx, m)
	if err != nil {
		n.Log.Warn("a message could not be sent", "channel", c.Name(), "subject", m.Subject, "err", clean(err.Error()))
	}
	return err == nil
}

// retryIn is the wait after attempt n: 5 s, 10 s … 15 min.
func retryIn(n int) time.Duration {
	return min(lastRetry, firstRetry<<min(max(n-1, 0), 10))
}
