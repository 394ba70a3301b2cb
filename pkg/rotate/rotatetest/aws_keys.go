package rotatetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// user is an IAM user and its keys, those that are gone but not forgotten
// everywhere included.
type user struct {
	rotate.User
	keys []*key
}

// key is one access key and the history of its status.
type key struct {
	id, secret string
	owner      *user
	created    time.Time
	changes    []change // oldest first

	lastUsed time.Time // as GetAccessKeyLastUsed answers
	latest   time.Time // latest use
	report   time.Time // when latest becomes lastUsed; zero: nothing to report
}

// view is who looks at a key.
type view int

const (
	authView  view = iota // the endpoints that check signatures
	listView              // ListAccessKeys
	quotaView             // the quota check of CreateAccessKey
	views
)

// change is one change of status and when each view notices it.
type change struct {
	status plan.Status
	seen   [views]window
}

// window is when a change is noticed: by nobody before first, by chance until
// settled, by everybody from then on.
type window struct{ first, settled time.Time }

// statuses returns what v may answer now, newest first; never empty.
func (k *key) statuses(v view, now time.Time) []plan.Status {
	var all []plan.Status
	for i := len(k.changes) - 1; i >= 0; i-- {
		w := k.changes[i].seen[v]
		if now.Before(w.first) {
			continue
		}
		all = append(all, k.changes[i].status)
		if !now.Before(w.settled) {
			return all
		}
	}
	return append(all, statusGone)
}

// status returns what v answers this time.
func (k *key) status(v view, now time.Time, r *rand.Rand) plan.Status {
	all := k.statuses(v, now)
	for len(all) > 1 && r.IntN(2) == 0 {
		all = all[1:]
	}
	return all[0]
}

// truth is the status without any lag.
func (k *key) truth() plan.Status { return k.changes[len(k.changes)-1].status }

// forgotten reports whether the key is gone in every view.
func (k *key) forgotten(now time.Time) bool {
	if k.truth() != statusGone {
		return false
	}
	for v := range views {
		if s := k.statuses(v, now); s[0] != statusGone || len(s) > 1 {
			return false
		}
	}
	return true
}

// set records a change of status. mu must be held.
func (a *AWS) set(k *key, s plan.Status, now time.Time) {
	r := a.dice("set "+k.id, now)
	auth := a.OldKey
	if s == plan.Active {
		auth = a.NewKey
	}
	c := change{status: s}
	c.seen[authView] = auth.window(r, now)
	c.seen[listView] = a.List.window(r, now)
	c.seen[quotaView] = a.Quota.window(r, now)
	k.changes = append(k.changes, c)
}

// use is one signed request. mu must be held.
func (a *AWS) use(keyID, secret string, now time.Time) (*key, error) {
	k := a.keys[keyID]
	if k == nil || k.status(authView, now, a.dice("use "+keyID, now)) != plan.Active {
		return nil, fmt.Errorf("InvalidClientTokenId: %w", rotate.ErrRefused)
	}
	if secret != k.secret {
		return nil, fmt.Errorf("SignatureDoesNotMatch: %w", rotate.ErrRefused)
	}
	k.reported(now)
	k.latest = now
	if k.report.IsZero() {
		k.report = now.Add(a.Usage.draw(a.dice("usage "+keyID, now)))
	}
	return k, nil
}

// reported brings lastUsed up to date.
func (k *key) reported(now time.Time) {
	if !k.report.IsZero() && !now.Before(k.report) {
		k.lastUsed, k.report = k.latest, time.Time{}
	}
}

// sweep forgets u's keys that are gone in every view. mu must be held.
func (a *AWS) sweep(u *user, now time.Time) {
	kept := u.keys[:0]
	for _, k := range u.keys {
		if !k.forgotten(now) {
			kept = append(kept, k)
			continue
		}
		delete(a.keys, k.id)
		for _, scope := range []string{"set ", "use ", "usage "} {
			delete(a.rolls, scope+k.id)
		}
		for _, op := range []Op{UpdateKey, DeleteKey, CallerIdentity, KeyLastUsed} {
			delete(a.rolls, string(op)+" "+u.Name+k.id)
			delete(a.rolls, string(op)+" "+k.id)
		}
	}
	clear(u.keys[len(kept):])
	u.keys = kept
}

const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// unique returns prefix and 16 random characters. mu must be held.
func (a *AWS) unique(prefix string, r *rand.Rand) string {
	b := []byte(prefix)
	for range 16 {
		b = append(b, base32[r.IntN(len(base32))])
	}
	return string(b)
}

// Use is what a client's signed request to any service gets: nil or
// ErrRefused. It counts as a use of the key and does not depend on the health
// of IAM and STS.
func (a *AWS) Use(keyID, secret string) error {
	now := a.lock()
	defer a.mu.Unlock()
	_, err := a.use(keyID, secret, now)
	return err
}

// Working returns the ids of the user's keys that every endpoint accepts now.
func (a *AWS) Working(user string) []string { return a.accepted(user, true) }

// Alive returns the ids of the user's keys that at least some endpoints accept
// now.
func (a *AWS) Alive(user string) []string { return a.accepted(user, false) }

func (a *AWS) accepted(user string, everywhere bool) []string {
	now := a.lock()
	defer a.mu.Unlock()
	var ids []string
	for _, k := range a.keysOf(user) {
		all := k.statuses(authView, now)
		n := 0
		for _, s := range all {
			if s == plan.Active {
				n++
			}
		}
		if n == len(all) || n > 0 && !everywhere {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// Truth returns the user's keys as IAM really has them, oldest first.
func (a *AWS) Truth(user string) []plan.Key {
	a.lock()
	defer a.mu.Unlock()
	var all []plan.Key
	for _, k := range a.keysOf(user) {
		if s := k.truth(); s != statusGone {
			all = append(all, plan.Key{ID: k.id, Status: s, Created: k.created})
		}
	}
	return all
}

func (a *AWS) keysOf(name string) []*key {
	if u := a.users[name]; u != nil {
		return u.keys
	}
	return nil
}

// create makes a key if the quota as it is seen now allows it. mu must be
// held.
func (a *AWS) create(u *user, now time.Time) (*key, error) {
	a.sweep(u, now)
	r := a.dice("create "+u.Name, now)
	n := 0
	for _, k := range u.keys {
		if k.status(quotaView, now, r) != statusGone {
			n++
		}
	}
	if n >= plan.Quota {
		return nil, rotate.ErrLimit
	}
	made := &key{
		id:      a.unique("AKIA", r),
		secret:  a.unique("", r) + a.unique("", r) + a.unique("", r)[:8],
		owner:   u,
		created: now.Add(a.Skew).UTC().Truncate(time.Second),
	}
	a.set(made, plan.Active, now)
	u.keys = append(u.keys, made)
	a.keys[made.id] = made
	return made, nil
}

// Plant makes a key as somebody else would, by a call that nothing disturbs.
// ErrNoUser and ErrLimit are possible.
func (a *AWS) Plant(name string) (string, error) {
	now := a.lock()
	defer a.mu.Unlock()
	u := a.users[name]
	if u == nil {
		return "", rotate.ErrNoUser
	}
	k, err := a.create(u, now)
	if err != nil {
		return "", err
	}
	return k.id, nil
}

// Switch makes a key active or inactive as somebody else would. A key that is
// gone is success.
func (a *AWS) Switch(name, keyID string, s plan.Status) {
	now := a.lock()
	defer a.mu.Unlock()
	if k, err := a.find(name, keyID); err == nil && k.truth() != s {
		a.set(k, s, now)
	}
}

// Uproot deletes a key as somebody else would. A key that is gone is success.
func (a *AWS) Uproot(name, keyID string) {
	now := a.lock()
	defer a.mu.Unlock()
	if k, err := a.find(name, keyID); err == nil {
		a.set(k, statusGone, now)
	}
}
