package content

import (
	"sync"
	"time"

	"github.com/keyrot/keyrot/internal/recent"
)

// RepeatAfter is how long a repetition of a recorded hand-out is left out;
// recentMax bounds the memory for it (some 200 bytes each).
const (
	RepeatAfter = 10 * time.Second
	recentMax   = 10_000
)

// Recent remembers the hand-outs that this process has just recorded, so that
// a caller that fetches the same key again and again costs one write in
// RepeatAfter. The zero value is ready; safe for concurrent use.
type Recent struct {
	mu   sync.Mutex
	last recent.Map[holding, repetition]
}

type holding struct{ caller, user string }

type repetition struct {
	key, addr string
	at        time.Time
}

// Repeats reports whether the hand-out repeats one that was noted less than
// RepeatAfter before at.
func (r *Recent) Repeats(caller, user, keyID, addr string, at time.Time) bool {
	r.mu.Lock()
	last, ok := r.last.Get(holding{caller, user})
	r.mu.Unlock()
	d := at.Sub(last.at)
	return ok && last.key == keyID && last.addr == addr && d >= 0 && d < RepeatAfter
}

// Note remembers a hand-out that is on record now.
func (r *Recent) Note(caller, user, keyID, addr string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.Max = recentMax // forgetting costs a write each, nothing else
	who := holding{caller, user}
	if newest, _ := r.last.Get(who); !at.Before(newest.at) {
		r.last.Put(who, repetition{keyID, addr, at})
	}
}
