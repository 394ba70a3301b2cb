//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"sync"
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

// throng is how many users are due at once in TestABurnGoesFirst.
const throng = 220

// TestABurnGoesFirst burns keys while all users are due and IAM allows a creation
// every four seconds, so that the last of them waits for a quarter of an hour: the
// key of a user whose pass waits for its turn already, and of the one that is due
// last. Most of those that are due before it have to wait for it.
func TestABurnGoesFirst(t *testing.T) {
	t.Parallel()
	c, done := cloud.New(throng), &deeds{}
	c.Latency, c.Done = 20*time.Millisecond, done.note
	k := manned(t, c)
	due := dueOrder(t, k)
	done.reset()
	c.Throttle(0.25, 1)
	if err := k.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	for done.count() < 5 && t.Context().Err() == nil {
		sleep(t.Context(), pollInterval)
	}
	for at, why := range map[int]string{35: "waits for its turn", throng - 1: "is due last"} {
		before := done.since(0)
		ahead := 0 // of it, and without a new key
		for _, user := range due[:at] {
			if !slices.Contains(before, deed{"CreateAccessKey", user}) {
				ahead++
			}
		}
		out, err := k.Run(t.Context(), "burn", due[at], "--wait", patience.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		after := done.since(len(before))
		end := slices.Index(after, deed{"UpdateAccessKey", due[at]})
		if end < 0 {
			t.Fatalf("burn says that it is done, and IAM has done this: %v", after)
		}
		others := 0
		for _, d := range after[:end] {
			if d.action == "CreateAccessKey" && d.user != due[at] {
				others++
			}
		}
		t.Logf("the user that %s: behind %d of %d creations", why, others, ahead)
		if others > ahead/2 {
			t.Errorf("the key of the user that %s was burned after %d of the %d creations that were due earlier, want at most half", why, others, ahead)
		}
	}
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
		"AWS_ENDPOINT_URL_IAM=" + srv.URL, "AWS_ENDPOINT_URL_STS=" + srv.URL, "KEYROT_USERS_ALL=true",
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
