package notify

import (
	"context"
	"errors"
	"time"
)

// Busy is an error of a channel that said when to come again.
type Busy struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (b *Busy) Error() string { return b.Err.Error() }

// Unwrap returns the cause.
func (b *Busy) Unwrap() error { return b.Err }

func waitOf(err error) time.Duration {
	if b, ok := errors.AsType[*Busy](err); ok {
		return b.After
	}
	return 0
}

const idle = time.Hour // the collector says when there is something to send

// deliver sends through one channel what is in the outbox when it is due.
func (n *Notifier) deliver(ctx context.Context, c Channel, work <-chan struct{}) {
	for {
		next, err := n.sendDue(ctx, c)
		if err != nil && ctx.Err() == nil {
			n.Log.Warn("looking for messages to send", "channel", c.Name(), "err", err)
		}
		wait := lookEvery
		switch {
		case !next.IsZero():
			wait = max(next.Sub(n.now()), writeEvery)
		case err == nil:
			wait = idle
		}
		if !pause(ctx, wait, work) {
			return
		}
	}
}

// sendDue sends what is due on a channel until nothing is or the channel
// fails, and returns when to look again; zero if nothing waits. A crash after
// a message was sent and before that is recorded sends it again.
func (n *Notifier) sendDue(ctx context.Context, c Channel) (next time.Time, err error) {
	var last outcome // of the message before
	for {
		var m *Message
		saving := ctx
		if last.id != "" {
			saving = context.WithoutCancel(ctx)
		}
		err := n.saving(saving, func(b *book) bool {
			now := n.now()
			if last.id != "" {
				b.settle(n, c.Name(), last, now)
			}
			m, next = nil, time.Time{}
			if ctx.Err() == nil {
				m, next = b.claim(c.Name(), now)
			}
			return last.id != "" || m != nil
		})
		switch {
		case err != nil && last.id != "" && pause(ctx, firstRetry, nil):
			n.Log.Warn("a message was sent; recording that fails", "channel", c.Name(), "err", err)
			continue // or it would be sent again
		case err != nil || m == nil:
			return next, err
		}
		last = outcome{m.ID, n.send(ctx, c, *m)}
	}
}

func (n *Notifier) saving(ctx context.Context, change func(*book) bool) error {
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	return n.update(ctx, change)
}

func (n *Notifier) send(ctx context.Context, c Channel, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := c.Send(ctx, m)
	if err != nil {
		n.Log.Warn("a message could not be sent", "channel", c.Name(), "subject", m.Subject, "err", clean(err.Error()))
	}
	return err
}

// pause waits for d, or less if woken. It returns false if ctx has ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return true
}
