package notify

import (
	"context"
	"maps"
	"slices"
	"time"
)

// While the store cannot be written, a copy of the book in memory takes its
// place; when the store is back, what changed in the copy is brought into the
// stored book. A process that ends in between loses the copy: the troubles are
// read from the records again.

const (
	directAfter = 30 * time.Second // without the store; then the copy is used
	rejoinEvery = 15 * time.Second
)

// absence is the time without the store.
type absence struct {
	base, mine book // when it began, and now
	tried      time.Time
}

// keep keeps the stored book as it was seen last, for a copy.
func (n *Notifier) keep(raw []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = raw
}

// update changes the book: the stored one, or the copy in memory while that is
// in use. change may be called several times; it returns false to save
// nothing.
func (n *Notifier) update(ctx context.Context, change func(*book) bool) error {
	if n.changeCopy(change) {
		return nil
	}
	return n.stored(ctx, change)
}

// changeCopy changes the copy, if it is in use.
func (n *Notifier) changeCopy(change func(*book) bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away == nil {
		return false
	}
	change(&n.away.mine)
	_, _ = n.away.mine.encode(n) // keeps it small
	return true
}

// leave begins to use a copy if the store has been failing for a while.
func (n *Notifier) leave() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if n.failing.IsZero() {
		n.failing = now
	}
	if n.away != nil || now.Sub(n.failing) < directAfter {
		return false
	}
	n.Log.Warn("notices are kept in memory and sent from there until the store can be written")
	a := &absence{tried: now}
	for _, b := range []*book{&a.base, &a.mine} {
		*b, _ = decode(n.last) // an unreadable one is as good as none
		b.route(n.names())
	}
	a.mine.ID, a.mine.Seq = newBook().ID, 0
	n.away = a
	return true
}

// rejoin ends the use of the copy, if the store can be written again. It is
// tried now and then, and at the last.
func (n *Notifier) rejoin(ctx context.Context, last bool) {
	n.mu.Lock()
	a := n.away
	if a == nil || n.now().Sub(a.tried) < rejoinEvery && !last {
		n.mu.Unlock()
		return
	}
	a.tried = n.now()
	n.mu.Unlock()
	// What happens to the copy while it is being saved is brought in by the
	// next attempt; only an attempt that found it unchanged ends its use.
	var raw []byte
	err := n.stored(ctx, func(b *book) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		raw, _ = a.mine.encode(n)
		b.merge(a.base, a.mine)
		return true
	})
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now, _ := a.mine.encode(n)
	if slices.Equal(now, raw) {
		n.away = nil
		return
	}
	a.base, _ = decode(raw)
	a.tried = time.Time{}
}

// merge brings into b what happened to mine since that was like base.
func (b *book) merge(base, mine book) {
	same := func(x, y Item) bool {
		return x.Kind == y.Kind && x.User == y.User && x.What == y.What && x.At.Equal(y.At)
	}
	in := func(items []Item, it Item) bool {
		return slices.ContainsFunc(items, func(o Item) bool { return same(o, it) })
	}
	settled := func(it Item) bool { return in(base.Fresh, it) && !in(mine.Fresh, it) }
	b.Fresh = slices.DeleteFunc(b.Fresh, settled)
	for _, it := range mine.Fresh {
		if !in(base.Fresh, it) {
			b.Fresh = append(b.Fresh, it)
		}
	}
	for user, whats := range base.Troubles {
		for what := range whats {
			if _, still := mine.Troubles[user][what]; !still {
				b.forget(user, what)
			}
		}
	}
	for user, whats := range mine.Troubles {
		for what, o := range whats {
			if base.Troubles[user][what] != o {
				b.remember(user, what, o)
			}
		}
	}
	b.mergeOutbox(base, mine)
	for c, l := range mine.Lines {
		if l.Next.After(b.Lines[c].Next) {
			b.setLine(c, l)
		}
	}
	if !mine.Tally.Since.Equal(base.Tally.Since) {
		b.Tally = tally{Since: mine.Tally.Since, Users: maps.Clone(mine.Tally.Users), Other: mine.Tally.Other}
		return
	}
	b.Tally.Other += mine.Tally.Other - base.Tally.Other
	for user, count := range mine.Tally.Users {
		if more := count - base.Tally.Users[user]; more != 0 && b.Tally.Users != nil {
			b.Tally.Users[user] += more
		}
	}
}

func (b *book) mergeOutbox(base, mine book) {
	find := func(ps []parcel, id string) *parcel {
		if i := slices.IndexFunc(ps, func(p parcel) bool { return p.ID == id }); i >= 0 {
			return &ps[i]
		}
		return nil
	}
	b.Outbox = slices.DeleteFunc(b.Outbox, func(p parcel) bool {
		was, is := find(base.Outbox, p.ID), find(mine.Outbox, p.ID)
		switch {
		case was == nil:
			return false // another process's
		case is == nil:
			return true
		}
		for c := range was.To {
			if _, left := is.To[c]; !left {
				delete(p.To, c)
			}
		}
		return len(p.To) == 0
	})
	for i := range b.Outbox {
		if is := find(mine.Outbox, b.Outbox[i].ID); is != nil {
			b.Outbox[i].Taken = b.Outbox[i].Taken || is.Taken
		}
	}
	for _, p := range mine.Outbox {
		if find(base.Outbox, p.ID) == nil {
			p.To = maps.Clone(p.To)
			b.Outbox = append(b.Outbox, p)
		}
	}
}
