package notify

import (
	"fmt"
	"slices"
	"time"
)

const (
	sendTime    = time.Minute     // bound on one message through one channel
	claimTime   = 2 * time.Minute // a channel belongs so long to the process that sends through it
	firstRetry  = 5 * time.Second
	lastRetry   = 15 * time.Minute
	longestWait = 6 * time.Hour  // that a channel may ask for
	giveUpAfter = 48 * time.Hour // for a channel, of what another one took
)

// parcel is a message on its way.
type parcel struct {
	Message
	To    map[string]int `json:"to"`              // channels that have not taken it, and how often they failed
	Taken bool           `json:"taken,omitempty"` // some channel took it: what it names was told
}

func (p *parcel) urgent() bool { return len(p.Items) > 0 && p.Items[0].Urgent }

// line is the state of a channel.
type line struct {
	Tries int       `json:"tries,omitempty"` // failures in a row
	Next  time.Time `json:"next"`            // not before; also the claim of the process that sends
}

// outcome is what became of a message that was given to a channel.
type outcome struct {
	id  string
	err error
}

// post puts a message into the outbox.
func (b *book) post(n *Notifier, m Message) {
	b.Seq++
	m.ID = fmt.Sprintf("%s-%d", b.ID, b.Seq)
	p := parcel{Message: m}
	p.address(n.names())
	b.Outbox = append(b.Outbox, p)
}

func (p *parcel) address(channels []string) {
	p.To = map[string]int{}
	for _, c := range channels {
		p.To[c] = 0
	}
}

// route takes channels that are not configured any more out of the outbox. A
// message that no channel took goes to those that are configured now.
func (b *book) route(channels []string) {
	b.Outbox = slices.DeleteFunc(b.Outbox, func(p parcel) bool {
		for c := range p.To {
			if !slices.Contains(channels, c) {
				delete(p.To, c)
			}
		}
		return len(p.To) == 0 && p.Taken
	})
	for i := range b.Outbox {
		if p := &b.Outbox[i]; len(p.To) == 0 {
			p.address(channels)
		}
	}
}

// claim returns the message that the channel is to send now, which the channel
// then is busy with; nil if there is none, and when to look again, zero if
// nothing waits for the channel. What failed least often goes first, then what
// is urgent, then what is oldest: one message that a channel refuses does not
// hold up the others.
func (b *book) claim(channel string, now time.Time) (m *Message, next time.Time) {
	var p *parcel
	for i := range b.Outbox {
		q := &b.Outbox[i]
		if _, left := q.To[channel]; !left {
			continue
		}
		if p == nil || q.turn(channel) < p.turn(channel) || q.turn(channel) == p.turn(channel) && q.urgent() && !p.urgent() {
			p = q
		}
	}
	if p == nil {
		return nil, time.Time{}
	}
	l := b.Lines[channel]
	if now.Before(l.Next) {
		return nil, l.Next
	}
	l.Next = now.Add(claimTime)
	b.setLine(channel, l)
	out := p.Message
	return &out, time.Time{}
}

// turn is lower for what goes sooner. Failures count less for what is urgent.
func (p *parcel) turn(channel string) int {
	if p.urgent() {
		return p.To[channel] / 4
	}
	return p.To[channel]
}

// due reports whether the channel has something to send now.
func (b *book) due(channel string, now time.Time) bool {
	return !now.Before(b.Lines[channel].Next) && slices.ContainsFunc(b.Outbox, func(p parcel) bool {
		_, left := p.To[channel]
		return left
	})
}

// settle records an outcome.
func (b *book) settle(n *Notifier, channel string, o outcome, now time.Time) {
	l := line{Next: now}
	if o.err != nil {
		l.Tries = b.Lines[channel].Tries + 1
		l.Next = now.Add(max(retryIn(l.Tries), min(waitOf(o.err), longestWait)))
	}
	b.setLine(channel, l)
	i := slices.IndexFunc(b.Outbox, func(p parcel) bool { return p.ID == o.id })
	if i < 0 {
		return
	}
	p := &b.Outbox[i]
	switch {
	case o.err == nil:
		p.Taken = true
		delete(p.To, channel)
	case p.Taken && now.Sub(p.At) > giveUpAfter:
		n.Log.Error("gave up on a message to one channel; other channels accepted it", "channel", channel, "subject", p.Subject)
		delete(p.To, channel)
	default:
		p.To[channel]++
	}
	if len(p.To) == 0 {
		b.Outbox = slices.Delete(b.Outbox, i, i+1)
	}
}

func (b *book) setLine(channel string, l line) {
	if b.Lines == nil {
		b.Lines = map[string]line{}
	}
	b.Lines[channel] = l
}

// retryIn is the wait after failure n in a row: 5 s, 10 s … 15 min.
func retryIn(n int) time.Duration {
	return min(lastRetry, firstRetry<<min(max(n-1, 0), 10))
}
