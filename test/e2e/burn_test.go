//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrot/keyrot/test/bench/cloud"
)

// deeds are the calls that changed something in IAM, in their order.
type deeds struct {
	mu  sync.Mutex
	all []deed
}

type deed struct{ action, user string }

func (d *deeds) note(action, user string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, deed{action, user})
}

func (d *deeds) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = nil
}

func (d *deeds) count() int { return len(d.since(0)) }

// since returns what was done after the first n.
func (d *deeds) since(n int) []deed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all[n:])
}

const (
	// throng is how many users are due at once in TestABurnGoesFirst.
	throng = 100
	// before is how many of them may get a key before what is burned: those whose
	// calls are on their way, and those of some seconds on a slow machine.
	before = 12
	// operator is the access key that the command signs its calls with.
	operator = "AKIACOMMAND"
)

// TestABurnGoesFirst burns keys while all users are due and IAM allows a creation
// every two seconds: the key of a user whose pass waits for its turn already, and of
// the one that is due last. The daemon takes all that IAM allows, so that the
// command's own calls are refused, each of them: it has to leave the burn to the
// daemon, and the daemon to put it before the keys that were due earlier.
func TestABurnGoesFirst(t *testing.T) {
	t.Parallel()
	c, done := cloud.New(throng), &deeds{}
	c.Latency, c.Done = 20*time.Millisecond, done.note
	var refused atomic.Int32
	c.Starves = func(keyID string) bool {
		if keyID != operator {
			return false
		}
		refused.Add(1)
		return true
	}
	k := manned(t, c)
	due := dueOrder(t, k)
	done.reset()
	c.Throttle(0.5, 1)
	if err := k.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	k.Env = append(slices.Clone(k.Env), "AWS_ACCESS_KEY_ID="+operator)
	for done.count() < 3 && t.Context().Err() == nil {
		sleep(t.Context(), pollInterval)
	}
	burn := func(at int, says string) {
		t.Helper()
		refused.Store(0)
		n, ahead := burned(t, k, done, due, at)
		t.Logf("the user that %s: %d of the %d that were due earlier got a key before its own was burned", says, n, ahead)
		if n > before {
			t.Errorf("the key of the user that %s was not burned before %d of %d creations that were due earlier, want at most %d",
				says, n, ahead, before)
		}
		if ahead < 2*before {
			t.Errorf("only %d creations were due before that of the user that %s", ahead, says)
		}
	}
	burn(35, "waits for its turn")
	// Once more if the daemon found the order before its command had made a call.
	for at := throng - 1; at == throng-1 || refused.Load() == 0 && !t.Failed(); at-- {
		burn(at, "is due last")
	}
}

// burned burns the key of the user that is due at that place, and returns how many
// keys were made for others until then, or before was exceeded, and how many were
// due before it.
func burned(t *testing.T, k *Keyrot, done *deeds, due []string, at int) (others, ahead int) {
	t.Helper()
	begin := done.since(0)
	for _, user := range due[:at] {
		if !slices.Contains(begin, deed{"CreateAccessKey", user}) {
			ahead++
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := k.Run(ctx, "burn", due[at], "--wait", patience.String())
		ended <- err
	}()
	for {
		after := done.since(len(begin))
		end := slices.Index(after, deed{"UpdateAccessKey", due[at]})
		others = keysOfOthers(after, end, due[at])
		switch {
		case others > before:
			cancel()
			<-ended
			return others, ahead
		case end >= 0:
			if err := <-ended; err != nil {
				t.Errorf("the key is burned, and the command says: %v", err)
			}
			return others, ahead
		}
		select {
		case err := <-ended:
			if done.count() == len(begin)+len(after) {
				t.Fatalf("the command ended before the key was burned: %v", err)
			}
			ended <- err // it was burned just now
		case <-time.After(pollInterval):
		}
	}
}

// keysOfOthers counts the keys that were made for others before all[end], or at all.
func keysOfOthers(all []deed, end int, user string) (n int) {
	if end < 0 {
		end = len(all)
	}
	for _, d := range all[:end] {
		if d.action == "CreateAccessKey" && d.user != user {
			n++
		}
	}
	return n
}

// manned returns a keyrot over c whose users have a key each that was due for
// rotation a while ago.
func manned(t *testing.T, c *cloud.Cloud) *Keyrot {
	t.Helper()
	folder, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	dir := shortDir(t)
	k := &Keyrot{Bin: folder, Dir: dir}
	env := []string{
		"AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=AKIAOPERATOR", "AWS_SECRET_ACCESS_KEY=s", "AWS_CONFIG_FILE=/dev/null",
		"AWS_ENDPOINT_URL_IAM=" + srv.URL, "AWS_ENDPOINT_URL_STS=" + srv.URL, "KEYROT_USERS_ALL=true", "KEYROT_SETTLE=0s",
	}
	k.Env = append(slices.Clone(env), "KEYROT_IAM_RATE=1000")
	if _, err := k.Run(t.Context(), "rotate-once"); err != nil {
		t.Fatal(err)
	}
	k.Env = env
	c.Pass(time.Hour)
	return k
}

// dueOrder returns the users in the order in which they are due.
func dueOrder(t *testing.T, k *Keyrot) (names []string) {
	t.Helper()
	out, err := k.Run(t.Context(), "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		User string
		Next time.Time
	}
	var users []row
	if err := json.Unmarshal(out, &users); err != nil || len(users) != throng {
		t.Fatalf("status lists %d users, want %d (%v)", len(users), throng, err)
	}
	slices.SortFunc(users, func(a, b row) int { return a.Next.Compare(b.Next) })
	for _, u := range users {
		names = append(names, u.User)
	}
	return names
}
