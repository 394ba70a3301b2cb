package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
