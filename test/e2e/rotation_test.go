//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const rotations = 10 // that every scenario must see, per user

// The fastest schedule whose overlap still leaves room to prove a key.
var schedule = []string{"--rotate-every", "4s", "--deactivate-after", "6s", "--delete-after", "8s", "--settle", "0s"}

var bin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keyrot-bin-")
	if err != nil {
		return "", err
	}
	return BuildKeyrot(context.Background(), dir)
})

// scene is one AWS with users, a keyrot that rotates their keys, and clients.
type scene struct {
	*Keyrot
	t     *testing.T
	admin *iam.Client
	users []string
	call  func(context.Context, Pair) error // one signed request
	now   func() time.Time                  // the clients' clock
	get   func(context.Context, string) (Pair, error)

	mu      sync.Mutex
	calls   int
	refused []string
	keys    map[string]map[string]bool // key ids that clients saw, by user
	failed  map[string]int             // what get-key said when it gave nothing, and calls that were not answered
}

func newScene(t *testing.T, iamURL string, root aws.Credentials, users ...string) *scene {
	t.Helper()
	return newSceneIn(t, shortDir(t), iamURL, root, nil, users...)
}

// newSceneIn is newScene with its state in a given folder, and more in the
// environment of keyrot.
func newSceneIn(t *testing.T, dir, iamURL string, root aws.Credentials, env []string, users ...string) *scene {
	t.Helper()
	folder, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{
		t: t, users: users, keys: map[string]map[string]bool{}, failed: map[string]int{}, admin: iam.NewFromConfig(config(iamURL, root)),
		now: time.Now,
		Keyrot: &Keyrot{Bin: folder, Dir: dir, Env: append([]string{
			"AWS_ACCESS_KEY_ID=" + root.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + root.SecretAccessKey, "AWS_REGION=" + Region,
			"AWS_ENDPOINT_URL_IAM=" + iamURL, "AWS_ENDPOINT_URL_STS=" + iamURL, "AWS_CONFIG_FILE=/dev/null",
			"KEYROT_USERS_NAMES=" + strings.Join(users, ","), "KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100",
		}, env...)},
	}
	t.Cleanup(func() { s.Stop() }) // a test that fails has not stopped it
	s.get = s.GetKey
	for _, u := range users {
		s.keys[u] = map[string]bool{}
		if _, err := s.admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &u}); err != nil {
			t.Fatal(err)
		}
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","sts:*"],"Resource":"*"}]}`
		if _, err := s.admin.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &u, PolicyName: aws.String("all"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.Run(t.Context(), "api-key", "create", "--init", "--name", "e2e", "--users", "*", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	s.Key = made.APIKey
	return s
}

// client makes a signed request every 100 ms with what get-key gave it, until
// the Expiration that came with it, and not a moment longer. A request that was
// still under way then tells nothing.
func (s *scene) client(ctx context.Context, user string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var pair Pair
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !s.now().Before(pair.Expiration) {
			got, err := s.get(ctx, user)
			if err != nil {
				s.mu.Lock()
				s.failed[err.Error()]++
				s.mu.Unlock()
				continue // keyrot is down, or has no key yet
			}
			pair = got
		}
		began := s.now()
		if !began.Before(pair.Expiration) {
			continue
		}
		err := s.call(context.WithoutCancel(ctx), pair)
		inTime := s.now().Before(pair.Expiration)
		s.mu.Lock()
		s.calls++
		switch {
		case err == nil:
			s.keys[user][pair.AccessKeyId] = true
		case !refusal(err):
			s.failed[err.Error()]++
		case inTime:
			s.refused = append(s.refused, fmt.Sprintf("%s: %s, asked %s before its Expiration: %v", user, pair.AccessKeyId, pair.Expiration.Sub(began), err))
		}
		s.mu.Unlock()
	}
}

// seen returns the least number of keys that a user's client has worked with.
func (s *scene) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := 1 << 30
	for _, u := range s.users {
		least = min(least, len(s.keys[u]))
	}
	return least
}

// work runs a client for each user until all have worked with n keys.
func (s *scene) work(n int, meanwhile func(context.Context)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, u := range s.users {
		wg.Go(func() { s.client(ctx, u) })
	}
	if meanwhile != nil {
		meanwhile(ctx)
	}
	for s.seen() < n && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	cancel()
	wg.Wait()
	s.t.Logf("%d calls by %d clients, at least %d keys each, %d refused", s.calls, len(s.users), s.seen(), len(s.refused))
	for i, r := range s.refused {
		if i == 5 {
			break
		}
		s.t.Errorf("refused: %s", r)
	}
	if s.seen() < n {
		for why, times := range s.failed {
			s.t.Logf("%d times: %s", times, why)
		}
		log, _ := os.ReadFile(s.Dir + "/serve.log")
		s.t.Errorf("clients worked with %d keys in %s, want %d; the log ends:\n%s", s.seen(), patience, n, log[max(0, len(log)-3000):])
	}
}

// control deactivates a key under a client, which must notice: otherwise none
// of the other results means anything.
func (s *scene) control(user string, spoil func(Pair) error) {
	s.t.Helper()
	pair, err := s.given(s.getter(user), func(ctx context.Context, p Pair) error {
		if err := s.call(ctx, p); err != nil {
			return err
		}
		return spoil(p)
	})
	if err != nil {
		s.t.Fatalf("the control's key does not work to begin with, or cannot be taken away: %v", err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := s.call(s.t.Context(), pair); err != nil {
			var ae smithy.APIError
			var re *smithyhttp.ResponseError
			if !errors.As(err, &ae) || !errors.As(err, &re) || re.HTTPStatusCode() != http.StatusForbidden {
				s.t.Fatalf("negative control: %v, want a refusal by AWS (403)", err)
			}
			s.t.Logf("negative control: refused with %s", ae.ErrorCode())
			return
		}
	}
	s.t.Error("negative control: a key that was taken away under its client still works")
}

// given gets a key and uses it. If it cannot be used, and its Expiration has
// passed by then, that tells nothing, and there is another.
func (s *scene) given(get func(context.Context) (Pair, error), use func(context.Context, Pair) error) (p Pair, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		if p, err = get(ctx); err != nil {
			return p, err
		}
		if err = use(ctx, p); err == nil || s.now().Before(p.Expiration) {
			return p, err
		}
	}
}

func (s *scene) getter(user string) func(context.Context) (Pair, error) {
	return func(ctx context.Context) (Pair, error) { return s.GetKey(ctx, user) }
}

func (s *scene) deactivate(p Pair) error {
	_, err := s.admin.UpdateAccessKey(context.Background(), &iam.UpdateAccessKeyInput{UserName: &p.UserName, AccessKeyId: &p.AccessKeyId, Status: "Inactive"})
	return err
}

func (s *scene) delete(p Pair) error {
	_, err := s.admin.DeleteAccessKey(context.Background(), &iam.DeleteAccessKeyInput{UserName: &p.UserName, AccessKeyId: &p.AccessKeyId})
	return err
}

// onVersitygw is a scene whose clients read and write S3 objects.
func onVersitygw(t *testing.T, users ...string) *scene {
	t.Helper()
	s, _ := versity(t, users...)
	return s
}

func versity(t *testing.T, users ...string) (*scene, *Versitygw) {
	t.Helper()
	v, err := StartVersitygw(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	s := newScene(t, v.IAM.URL, v.Root, users...)
	open := func(c aws.Credentials) *s3.Client {
		return s3.NewFromConfig(config(v.S3.URL, c), func(o *s3.Options) { o.UsePathStyle = true })
	}
	for _, u := range users {
		if _, err := open(v.Root).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-" + u)}); err != nil {
			t.Fatal(err)
		}
	}
	s.call = func(ctx context.Context, p Pair) error {
		c := open(aws.Credentials{AccessKeyID: p.AccessKeyId, SecretAccessKey: p.SecretAccessKey})
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket-" + p.UserName), Key: aws.String("k"), Body: bytes.NewReader([]byte("x"))})
		return err
	}
	return s, v
}

func (s *scene) serve() {
	s.t.Helper()
	if err := s.Serve(s.t.Context(), schedule...); err != nil {
		s.t.Fatal(err)
	}
}

func TestRotationUnderClientsOnVersitygw(t *testing.T) {
	t.Parallel()
	s := onVersitygw(t, "app", "batch", "web")
	s.serve()
	s.work(rotations+1, func(ctx context.Context) {
		for range 10 { // as cron would, beside the daemon and on its store
			if _, err := s.Run(ctx, append([]string{"rotate-once"}, schedule...)...); err != nil {
				t.Errorf("rotate-once beside serve: %v", err)
			}
			time.Sleep(time.Second)
		}
	})
	s.control("app", s.deactivate)
	s.Stop()
}

func TestRotationUnderClientsOnMoto(t *testing.T) {
	t.Parallel()
	m, err := StartMoto(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	root := motoAdmin(t, m.URL)
	s := newScene(t, m.URL, root, "app", "batch")
	s.call = func(ctx context.Context, p Pair) error {
		_, err := sts.NewFromConfig(config(m.URL, aws.Credentials{AccessKeyID: p.AccessKeyId, SecretAccessKey: p.SecretAccessKey})).
			GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	}
	s.serve()
	s.work(rotations+1, nil)
	s.control("app", s.delete) // moto lets inactive keys pass
	s.Stop()
}

// motoAdmin makes an administrator and turns moto's checks of signatures on.
func motoAdmin(t *testing.T, url string) aws.Credentials {
	t.Helper()
	c := iam.NewFromConfig(config(url, aws.Credentials{AccessKeyID: "AKIAANY", SecretAccessKey: "any"}))
	name := aws.String("admin")
	if _, err := c.CreateUser(t.Context(), &iam.CreateUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	if _, err := c.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("all"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/moto-api/reset-auth", strings.NewReader("0"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("turning authorization on: HTTP %d", res.StatusCode)
	}
	return aws.Credentials{AccessKeyID: *made.AccessKey.AccessKeyId, SecretAccessKey: *made.AccessKey.SecretAccessKey}
}

// TestKillAtAnyMoment kills the daemon 20 times at random moments while clients
// work.
func TestKillAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := onVersitygw(t, "app", "batch")
	s.serve()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s.work(rotations+1, func(ctx context.Context) {
		for range 20 {
			time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
			s.Kill()
			time.Sleep(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
			if err := s.Serve(ctx, schedule...); err != nil {
				t.Fatalf("starting again: %v", err)
			}
		}
	})
	// In the end no more than keyrot knows of is left in IAM.
	for _, u := range s.users {
		s.wait(u)
	}
	s.Stop()
	if out, err := s.Run(t.Context(), "audit", "verify"); err != nil {
		t.Errorf("the audit log after 20 kills: %v\n%s", err, out)
	}
}
