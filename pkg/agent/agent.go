// Package agent keeps the credentials of some users fresh and answers for them
// on this machine: to SDKs in their container-credentials protocol, to get-key
// on a unix socket. Who asks never waits for a server, and a server that is
// away is not noticed before the last credential it gave expires.
//
// It knows no AWS SDK and writes no credential anywhere.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// Source is where credentials come from: a [client.Client].
type Source interface {
	CredentialIfChanged(ctx context.Context, user, tag string) (api.Credential, string, error)
}

const (
	firstRetry  = time.Second
	lastRetry   = 30 * time.Second // while there is a credential that works
	emptyRetry  = 5 * time.Second  // while there is none
	longestRest = 30 * time.Second // timers stand still while the machine sleeps
	spare       = time.Second      // what a caller needs to use a credential
	shortPoll   = 15 * time.Second // between questions whether a key was burned;
	longPoll    = 30 * time.Second // "no" is a 304 without a secret
	fetchLimit  = 20 * time.Second // for one attempt, the server may hang
	tokenEvery  = 5 * time.Second  // between looks at the token's file
	silence     = 90 * time.Second // of a loop that is not alive: more than it rests or fetches
)

// Agent answers for Users. Its fields must not change once it is started; its
// methods are safe for concurrent use.
type Agent struct {
	Source Source
	Users  []string
	Token  func() (string, error) // what SDKs must present; asked at every request, and now and then
	Log    *slog.Logger           // default: discards
	Now    func() time.Time       // default: time.Now

	once    sync.Once
	begun   time.Time
	held    map[string]*holding // by user, fixed after the start
	metrics metrics
}

// holding is what the agent has of one user.
type holding struct {
	mu       sync.Mutex
	cred     api.Credential // zero: none
	tag      string
	err      error // of the last attempt
	failures int   // in a row

	beat atomic.Int64 // nanoseconds since the agent began; not under mu, which may be what is stuck
}

// Start fetches every user's credential once. Its error joins what went wrong
// for each: an agent that cannot do its work must not look as if it did.
func (a *Agent) Start(ctx context.Context) error {
	if len(a.Users) == 0 {
		return errors.New("no user is named")
	}
	a.prepare()
	errs := make([]error, len(a.Users))
	var wg sync.WaitGroup
	for i, user := range a.Users {
		wg.Go(func() {
			_, errs[i] = a.refresh(ctx, user)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Run keeps the credentials fresh until ctx ends. Call Start before.
func (a *Agent) Run(ctx context.Context) {
	a.prepare()
	var wg sync.WaitGroup
	for _, user := range a.Users {
		wg.Go(func() { a.keepFresh(ctx, user) })
	}
	if a.Token != nil {
		wg.Go(func() { a.keepToken(ctx) })
	}
	wg.Wait()
}

// keepToken asks for the token now and then, which makes its file again if it
// was deleted: an SDK that cannot read the file never asks the agent. What is
// wrong with the file is told once.
func (a *Agent) keepToken(ctx context.Context) {
	t := time.NewTicker(tokenEvery)
	defer t.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		switch _, err := a.Token(); {
		case err == nil:
			told = ""
		case told != err.Error():
			told = err.Error()
			a.log().Warn("programs get no credential over HTTP: the token cannot be used", "err", err)
		}
	}
}

func (a *Agent) prepare() {
	a.once.Do(func() {
		a.begun = time.Now() // not a.Now: how long a loop is silent is no matter of the calendar
		a.held = make(map[string]*holding, len(a.Users))
		for _, user := range a.Users {
			a.held[user] = &holding{}
		}
		a.metrics.prepare(a.Users)
	})
}

// Alive reports whether every user's loop still turns: that it waits or asks,
// whatever the server answers.
func (a *Agent) Alive() bool {
	a.prepare()
	now := time.Since(a.begun)
	for _, h := range a.held {
		if now-time.Duration(h.beat.Load()) > silence {
			return false
		}
	}
	return true
}

func (a *Agent) keepFresh(ctx context.Context, user string) {
	next := a.next(user)
	for {
		a.held[user].beat.Store(int64(time.Since(a.begun)))
		t := time.NewTimer(min(max(next.Sub(a.now()), 0), longestRest))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if a.now().Before(next) {
			continue
		}
		changed, err := a.refresh(ctx, user)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log().Warn("credential not refreshed", "user", user, "err", err)
		case changed:
			c, _ := a.Credential(user)
			a.log().Info("credential refreshed", "user", user, "key", api.ShortKey(c.AccessKeyID), "until", c.Expiration)
		}
		next = a.next(user)
	}
}

// refresh asks the source once. Only keyrot's own refusal takes away what was
// held.
func (a *Agent) refresh(ctx context.Context, user string) (changed bool, err error) {
	h := a.held[user]
	h.mu.Lock()
	tag := h.tag
	if !h.works(a.now()) {
		tag = ""
	}
	h.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	cred, newTag, err := a.Source.CredentialIfChanged(asking, user, tag)
	if err != nil && ctx.Err() == nil && asking.Err() != nil {
		err = fmt.Errorf("%w: no answer within %v", client.ErrUnreachable, fetchLimit)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, client.ErrNotModified):
		a.metrics.fetched(user, "not_modified")
		h.err, h.failures = nil, 0
		return false, nil
	case err != nil:
		a.metrics.fetched(user, "error")
		h.err, h.failures = err, h.failures+1
		if api.Withdrawn(err) {
			h.cred, h.tag = api.Credential{}, ""
		}
		return false, fmt.Errorf("user %q: %w", user, err)
	}
	a.metrics.fetched(user, "ok")
	changed = cred.AccessKeyID != h.cred.AccessKeyID
	h.cred, h.tag, h.err, h.failures = cred, newTag, nil, 0
	return changed, nil
}

// next returns when to ask for the user's credential again.
func (a *Agent) next(user string) time.Time {
	h := a.held[user]
	h.mu.Lock()
	defer h.mu.Unlock()
	now := a.now()
	if h.failures == 0 {
		at := api.RefreshAt(h.cred, now)
		if poll := now.Add(shortPoll + rand.N(longPoll-shortPoll)); h.tag != "" && poll.Before(at) {
			return poll
		}
		return at
	}
	wait := lastRetry
	if h.failures < 6 {
		wait = firstRetry << (h.failures - 1)
	}
	if left := h.cred.Expiration.Sub(now); !h.works(now) {
		wait = min(wait, emptyRetry)
	} else {
		wait = min(wait, max(left/4, firstRetry))
	}
	return now.Add(wait/2 + rand.N(wait/2+1)) // jitter: many agents see one server come back
}

func (h *holding) works(now time.Time) bool {
	return h.cred.AccessKeyID != "" && h.cred.Expiration.After(now.Add(spare))
}

// Credential returns the user's credential. It works; otherwise there is an
// error: [api.ErrUnknownUser], or what happened when a new one was asked for,
// or [api.ErrNoKeyReady].
func (a *Agent) Credential(user string) (api.Credential, error) {
	if !slices.Contains(a.Users, user) {
		return api.Credential{}, api.ErrUnknownUser
	}
	h := a.held[user]
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.works(a.now()):
		return h.cred, nil
	case h.err != nil:
		return api.Credential{}, h.err
	}
	return api.Credential{}, api.ErrNoKeyReady
}

func (a *Agent) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

func (a *Agent) log() *slog.Logger {
	if a.Log != nil {
		return a.Log
	}
	return slog.New(slog.DiscardHandler)
}
