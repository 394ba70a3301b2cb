package server

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keyrot/keyrot/pkg/api"
)

// Limits are how many requests are answered. What is above is told to come
// back later (429 with Retry-After).
type Limits struct {
	// Caller is requests per second of one caller, in the long run; twice as
	// many may come at once. Default 100.
	Caller float64
	// Failures is refused credentials per second from one address (IPv6: one
	// /64); ten times as many may come at once. A good credential from the
	// same address is not slowed down: nobody is locked out by somebody
	// else's guesses. Default 5.
	Failures float64
	// Connections is how many may be open; one address gets a quarter of
	// what is free. What is above is closed at once. Default 4096.
	Connections int
	// Requests is how many may be answered at once; one address gets
	// a quarter of what is free. What is above gets 503 at once. Default 1024.
	Requests int
}

const (
	defCallerRate  = 100
	defFailureRate = 5
	defConnections = 4096
	maxBuckets     = 10_000 // some 200 bytes each
	sweepEvery     = time.Second
)

// tooMany is api.ErrTooMany with the time to wait.
type tooMany struct{ after time.Duration }

func (e *tooMany) Error() string { return fmt.Sprintf("%v, wait %s", api.ErrTooMany, e.after) }
func (*tooMany) Unwrap() error   { return api.ErrTooMany }

// buckets are token buckets by name, bounded in number. Full buckets are
// forgotten, because a new one is the same. Safe for concurrent use.
type buckets struct {
	rate  float64
	burst int
	now   func() time.Time

	mu    sync.Mutex
	all   map[string]*rate.Limiter
	swept time.Time
}

func newBuckets(perSecond, def float64, times int, now func() time.Time) *buckets {
	if perSecond <= 0 {
		perSecond = def
	}
	return &buckets{
		rate: perSecond, burst: int(math.Ceil(min(perSecond*float64(times), math.MaxInt32))),
		now: now, all: make(map[string]*rate.Limiter),
	}
}

// take takes a token, or says how long to wait for one.
func (b *buckets) take(name string) error {
	now := b.now()
	l := b.bucket(name, now)
	if l.AllowN(now, 1) {
		return nil
	}
	missing := 1 - l.TokensAt(now)
	return &tooMany{max(time.Second, time.Duration(missing/b.rate*float64(time.Second)))}
}

func (b *buckets) bucket(name string, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.all[name]
	if l == nil {
		if len(b.all) >= maxBuckets {
			b.evict(now)
		}
		l = rate.NewLimiter(rate.Limit(b.rate), b.burst)
		b.all[name] = l
	}
	return l
}

// evict makes room: idle buckets go, at most once in sweepEvery; if all are
// busy, any one goes, so that memory is bounded whoever comes.
func (b *buckets) evict(now time.Time) {
	if d := now.Sub(b.swept); d < 0 || d >= sweepEvery {
		b.swept = now
		for name, l := range b.all {
			if l.TokensAt(now) >= float64(b.burst) {
				delete(b.all, name)
			}
		}
	}
	for name := range b.all {
		if len(b.all) < maxBuckets {
			return
		}
		delete(b.all, name)
	}
}

// network is what counts as one address: an IPv6 host owns its /64.
func network(host string) string {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if a.Is4() {
		return host // has one form only
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil { // unreachable: an IPv6 address has 64 bits
		return host
	}
	return p.String()
}
