package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/lambda"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// slowAccount is an account of 5,000 users that takes 1.6 s for a page.
type slowAccount struct {
	managed int   // so many have the tag
	most    int32 // users of a page that it gives at most, whatever is asked for

	mu    sync.Mutex
	down  error
	pages int
	reads []time.Time // when a page was asked for
}

const (
	accountUsers = 5000
	pageTakes    = 1600 * time.Millisecond
)

func (a *slowAccount) details(ctx context.Context, in *iam.GetAccountAuthorizationDetailsInput, _ ...func(*iam.Options)) (*iam.GetAccountAuthorizationDetailsOutput, error) {
	a.mu.Lock()
	a.pages++
	a.reads = append(a.reads, time.Now())
	down := a.down
	a.mu.Unlock()
	t := time.NewTimer(pageTakes)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
	}
	if down != nil {
		return nil, down
	}
	size := aws.ToInt32(in.MaxItems)
	if size == 0 {
		size = 100 // as AWS does
	}
	from, _ := strconv.Atoi(aws.ToString(in.Marker))
	to := min(from+int(min(size, a.most)), accountUsers)
	out := &iam.GetAccountAuthorizationDetailsOutput{IsTruncated: to < accountUsers, Marker: aws.String(strconv.Itoa(to))}
	for i := from; i < to; i++ {
		u := types.UserDetail{UserName: aws.String(fmt.Sprintf("u%04d", i)), UserId: aws.String(fmt.Sprintf("AIDA%d", i)), Path: aws.String("/")}
		if i%(accountUsers/a.managed) == 0 {
			u.Tags = []types.Tag{{Key: aws.String("keyrot:managed"), Value: aws.String("true")}}
		}
		out.UserDetailList = append(out.UserDetailList, u)
	}
	return out, nil
}

// stage is a function before that account.
type stage struct {
	account *slowAccount
	cloud   *rotatetest.AWS
	store   *rotatetest.MemStore
	log     bytes.Buffer
	steps   []time.Time
}

func newStage(t *testing.T, managed int, most int32) *stage {
	t.Helper()
	s := &stage{account: &slowAccount{managed: managed, most: most}, cloud: &rotatetest.AWS{}, store: &rotatetest.MemStore{}}
	for i := 0; i < accountUsers; i += accountUsers / managed {
		s.cloud.AddUser(fmt.Sprintf("u%04d", i), "/", nil)
	}
	return s
}

// function is a new environment of the function, which knows nothing.
func (s *stage) function() *lambda.Function {
	var mu sync.Mutex
	reader := &awsiam.IAM{API: awsiam.API{GetAccountAuthorizationDetails: s.account.details}}
	find := reader.Select(awsiam.Selection{Tag: "keyrot:managed=true"})
	r := &rotate.Rotator{
		IAM: s.cloud, Store: s.store, Settings: s.store, Rule: "tag", Clock: rotatetest.Clock(), ProofGap: -1, Owner: time.Now().String(),
		Policy: func(string) plan.Policy { return plan.Policy{Settle: -1} },
		Select: func(ctx context.Context) ([]rotate.User, error) {
			users, err := find(ctx)
			known := map[string]rotate.User{}
			for _, u := range s.cloud.Users() { // with the ids that it has there
				known[u.Name] = u
			}
			for i := range users {
				users[i] = known[users[i].Name]
			}
			return users, err
		},
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Observe: func(string, plan.Step, error) {
			mu.Lock()
			defer mu.Unlock()
			s.steps = append(s.steps, time.Now())
		},
	}
	return &lambda.Function{RunOnce: r.RunOnce, Log: r.Log}
}

// tick sends a scheduled event and waits until the next one is due.
func (s *stage) tick(t *testing.T, f *lambda.Function) lambda.Result {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // as the template says
	defer cancel()
	res, err := f.Invoke(ctx, json.RawMessage(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
	if err != nil {
		t.Fatalf("Invoke = %v", err)
	}
	time.Sleep(max(0, time.Minute-time.Since(began)))
	return res.(lambda.Result)
}

func (s *stage) served() (n int) {
	for _, u := range s.cloud.Users() {
		if len(s.cloud.Working(u.Name)) > 0 {
			n++
		}
	}
	return n
}

// Issue 10, 10: 50 pages took longer than a pass may, so nobody was ever rotated.
func TestFiveThousandUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 50, 1000)
		f := s.function()
		if res := s.tick(t, f); res.Stopped || s.served() != 50 {
			t.Fatalf("the first pass: stopped %t (%s), %d of 50 users have a key", res.Stopped, res.Why, s.served())
		}
		if s.account.pages != 5 {
			t.Errorf("the account was read by %d pages, want 5", s.account.pages)
		}
		for i := range 60 {
			if i%20 == 10 {
				f = s.function() // a cold start
			}
			began, before := time.Now(), len(s.steps)
			if res := s.tick(t, f); res.Stopped {
				t.Fatalf("pass %d was stopped: %s", i, res.Why)
			}
			if len(s.steps) > before && s.steps[before].Sub(began) > time.Second {
				t.Errorf("pass %d began %s after its event, want that it does not wait for the selection", i, s.steps[before].Sub(began))
			}
		}
		// 8 s are worth four minutes; the three cold starts read at once.
		if got := s.account.pages / 5; got > 61*60/240+4 {
			t.Errorf("the account was read %d times in an hour", got)
		}
		if s.served() != 50 {
			t.Errorf("%d of 50 users have a key", s.served())
		}
	})
}

// Passes that end before the selection is read say so, and go on with the users
// that are known.
func TestSelectionThatTakesLongerThanAPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10, 1000)
		s.tick(t, s.function())
		s.account.most = 100 // IAM may give fewer than it is asked for: 80 s
		time.Sleep(20 * time.Minute)
		f, created := s.function(), s.cloud.Calls(rotatetest.CreateKey)
		res := s.tick(t, f)
		if !res.Stopped || !strings.Contains(res.Why, "while the selection was read") {
			t.Errorf("the pass: stopped %t, why %q; want the reason", res.Stopped, res.Why)
		}
		if got := s.cloud.Calls(rotatetest.CreateKey) - created; got != 10 {
			t.Errorf("%d users were rotated meanwhile, want all 10 that are known", got)
		}
		if !strings.Contains(s.log.String(), "the pass was stopped") {
			t.Errorf("the log does not say so:\n%s", s.log.String())
		}
		s = newStage(t, 10, 100) // nobody is known yet
		res = s.tick(t, s.function())
		if !res.Stopped || !strings.Contains(res.Why, "reading the selection") || s.served() != 0 {
			t.Errorf("the first pass: stopped %t, why %q, %d users served; want nobody rotated and the reason", res.Stopped, res.Why, s.served())
		}
	})
}

func TestKeptSelectionFailsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10, 1000)
		s.tick(t, s.function())
		s.account.down = errors.New("throttled")
		created := s.cloud.Calls(rotatetest.CreateKey)
		for range 20 { // warm or cold, what was known is rotated
			s.tick(t, s.function())
		}
		if got := s.cloud.Calls(rotatetest.CreateKey) - created; got != 20 {
			t.Errorf("%d keys were made in 20 minutes while the selection could not be read, want 20", got)
		}
		time.Sleep(time.Hour) // too old to be believed by a new process
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.function().Invoke(ctx, json.RawMessage(`{"source":"aws.events","detail-type":"Scheduled Event"}`)); err == nil {
			t.Error("a pass without a selection: no error")
		}
	})
}

// A function that cannot serve all of its users in time serves none of them later
// than the others: whom a pass has no time for comes first in the next one.
func TestNoTailThatIsNeverServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const users, perSecond = 1500, 2 // of each action; the schedule asks for 2.5
		cloud, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
		cloud.Latency = rotatetest.Delay{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}
		cloud.Sleep = func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(d):
				return nil
			}
		}
		for i := range users {
			cloud.AddUser(fmt.Sprintf("u%04d", i), "/", nil)
		}
		var mu sync.Mutex
		promoted, longest := map[string]time.Time{}, make([]time.Duration, 10) // without a new key, by tenths of the alphabet
		began := time.Now()
		waited := func(user string) {
			since, ok := promoted[user]
			if !ok {
				since = began
			}
			n, _ := strconv.Atoi(user[1:])
			longest[n*10/users] = max(longest[n*10/users], time.Since(since).Round(time.Second))
		}
		function := func() *lambda.Function {
			r := &rotate.Rotator{
				IAM: cloud, Pace: &pace.Budget{Most: perSecond}, Store: store, Settings: store, Rule: "all", Clock: rotatetest.Clock(),
				Owner: time.Now().String(), Select: func(context.Context) ([]rotate.User, error) { return cloud.Users(), nil },
				Observe: func(user string, step plan.Step, err error) {
					if step.Action == plan.Promote && err == nil {
						mu.Lock()
						defer mu.Unlock()
						waited(user)
						promoted[user] = time.Now()
					}
				},
			}
			overdue := func(ctx context.Context) (int, error) {
				all, err := store.List(ctx)
				return r.Unenrolled(pointers(all)), err
			}
			return &lambda.Function{RunOnce: r.RunOnce, Overdue: overdue}
		}
		s := &stage{cloud: cloud, store: store}
		f := function()
		for minute := range 45 {
			if minute%20 == 19 {
				f = function() // a cold start
			}
			for _, u := range s.tick(t, f).Users {
				if u.Error != "" && u.Error != context.DeadlineExceeded.Error() {
					t.Errorf("minute %d, user %s: %s", minute, u.User, u.Error)
				}
			}
			if all, _ := store.List(t.Context()); minute == 3 && len(all) != users {
				t.Errorf("%d of %d users are enrolled after %d minutes", len(all), users, minute+1)
			}
			if minute == 15 && s.served() != users {
				t.Errorf("%d of %d users have a key after %d minutes, which would do for %d", s.served(), users, minute+1, (minute+1)*60*perSecond)
			}
		}
		for _, u := range cloud.Users() {
			waited(u.Name)
		}
		// A round takes a quarter of an hour. A slot that is missed is followed by the next, 10 minutes later.
		if slices.Max(longest) > 30*time.Minute {
			t.Errorf("users waited for a key for up to %v, by tenths of the alphabet, want 30m at most", longest)
		}
	})
}

// Users that are selected and that no pass has come to are overdue like others;
// those that cannot be enrolled as they are wait for nobody.
func TestUsersNotEnrolledAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cloud, store := &rotatetest.AWS{}, &rotatetest.MemStore{}
		for _, u := range []string{"ann", "bob", "foreign"} {
			cloud.AddUser(u, "/", nil)
		}
		if _, err := cloud.Plant("foreign"); err != nil {
			t.Fatal(err)
		}
		down := errors.New("down")
		store.Before = func(op, user string) error {
			if op == rotatetest.OpSave && user == "bob" {
				return down
			}
			return nil
		}
		r := &rotate.Rotator{
			IAM: cloud, Store: store, Clock: rotatetest.Clock(), Select: func(context.Context) ([]rotate.User, error) { return cloud.Users(), nil },
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{0, 0}, {5 * time.Minute, 1}} {
			time.Sleep(c.after)
			if _, err := r.RunOnce(t.Context(), rotate.Options{Unattended: true}); err != nil {
				t.Fatal(err)
			}
			all, err := store.List(t.Context())
			if got := r.Unenrolled(pointers(all)); err != nil || got != c.want {
				t.Errorf("after %s, %d users are not enrolled, %v, want %d: bob cannot be saved, foreign is refused", c.after, got, err, c.want)
			}
		}
	})
}

func pointers(all []rotate.Entry) (out []*rotate.Entry) {
	for i := range all {
		out = append(out, &all[i])
	}
	return out
}
