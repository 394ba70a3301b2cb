//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyrot/keyrot/pkg/lambda"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/content"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

const (
	maxZip   = 12 << 20 // bytes
	stackKey = "0123456789abcdefghijklmnopqrstuvwxyzABCD"
	limit    = time.Minute // of an invocation
)

// cloudScene is what a deployed stack consists of, on servers of this machine:
// versitygw is IAM and STS, DynamoDB Local the table, moto KMS and Secrets
// Manager.
type cloudScene struct {
	t         *testing.T
	dir       string
	bootstrap string
	env       []string
	users     []string
	admin     *iam.Client
	iamURL    string
	audit     func(chain string) *dynamodb.Audit
}

func newCloudScene(t *testing.T) *cloudScene {
	t.Helper()
	ctx := t.Context()
	s := &cloudScene{t: t, dir: shortDir(t), users: []string{"ann", "bob", "cyd"}}
	bootstrap, zipped, err := BuildBootstrap(ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("zip: %.1f MiB", float64(zipped)/(1<<20))
	if zipped > maxZip {
		t.Errorf("the zip has %d bytes, more than %d", zipped, maxZip)
	}
	s.bootstrap = bootstrap
	v, err := StartVersitygw(ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	local, err := StartDynamoDBLocal(ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(local.Stop)
	moto, err := StartMoto(ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moto.Stop)
	s.iamURL, s.admin = v.IAM.URL, iam.NewFromConfig(config(v.IAM.URL, v.Root))
	for _, u := range s.users {
		if _, err := s.admin.CreateUser(ctx, &iam.CreateUserInput{UserName: &u}); err != nil {
			t.Fatal(err)
		}
	}
	table, err := newTable(ctx, config(local.URL, v.Root))
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKMSKey(ctx, config(moto.URL, v.Root))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := secretsmanager.NewFromConfig(config(moto.URL, v.Root)).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("keyrot/api"), SecretString: aws.String(`{"api_key":"` + stackKey + `"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.audit = func(chain string) *dynamodb.Audit {
		return &dynamodb.Audit{
			API: dynamodb.NewAPI(config(local.URL, v.Root)), Table: table, Chain: chain,
			Sealer: &kmsseal.Sealer{API: kmsseal.NewAPI(config(moto.URL, v.Root)), Key: key, Context: content.EncryptionContext},
		}
	}
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=" + Region, "AWS_CONFIG_FILE=/dev/null",
		"AWS_ACCESS_KEY_ID=" + v.Root.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + v.Root.SecretAccessKey,
		"AWS_ENDPOINT_URL_IAM=" + v.IAM.URL, "AWS_ENDPOINT_URL_STS=" + v.IAM.URL,
		"AWS_ENDPOINT_URL_DYNAMODB=" + local.URL, "AWS_ENDPOINT_URL_KMS=" + moto.URL, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + moto.URL,
		"AWS_LAMBDA_FUNCTION_NAME=keyrot", "AWS_LAMBDA_LOG_STREAM_NAME=stream-0",
		"KEYROT_STORE_TABLE=" + table, "KEYROT_STORE_KMS_KEY=" + key, "KEYROT_API_SECRET=" + *secret.ARN,
		"KEYROT_USERS_NAMES=" + strings.Join(s.users, ","), "KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100", "KEYROT_SERVER_CALLER_RATE=1000000",
		"KEYROT_ROTATE_EVERY=4s", "KEYROT_DEACTIVATE_AFTER=6s", "KEYROT_DELETE_AFTER=8s", "KEYROT_SETTLE=0s",
	}
	return s
}

// start starts an instance of the function and reports what it cost.
func (s *cloudScene) start(function, name string) *Instance {
	s.t.Helper()
	i, err := StartInstance(s.t.Context(), s.bootstrap, filepath.Join(s.dir, name+".log"), append(s.env, "KEYROT_FUNCTION="+function))
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
		s.t.Fatalf("%v\n%s", err, log)
	}
	s.t.Cleanup(func() {
		rss := i.Stop()
		s.t.Logf("%s: cold start %d ms, at most %d MiB", name, i.Cold.Milliseconds(), rss)
		if s.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
			s.t.Logf("%s", log)
		}
	})
	return i
}

func tickAt(at time.Time) string {
	return fmt.Sprintf(`{"version":"0","id":"e","source":"aws.events","detail-type":"Scheduled Event","time":%q,"detail":{}}`, at.UTC().Format(time.RFC3339))
}

func (s *cloudScene) tick(i *Instance, limit time.Duration) (lambda.Result, error) {
	return s.send(i, tickAt(time.Now()), limit)
}

func (s *cloudScene) send(i *Instance, payload string, limit time.Duration) (res lambda.Result, err error) {
	body, err := i.Invoke(s.t.Context(), payload, limit)
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal(body, &res)
}

type gatewayAnswer struct {
	StatusCode int
	Body       string
}

// call sends a request as API Gateway does, in payload 1.0 or 2.0.
func (s *cloudScene) call(i *Instance, v2 bool, method, path, user string, headers map[string]string) (a gatewayAnswer, err error) {
	event := map[string]any{
		"httpMethod": method, "path": path, "headers": headers,
		"queryStringParameters": map[string]string{"username": user},
		"requestContext":        map[string]any{"stage": "prod", "identity": map[string]string{"sourceIp": "192.0.2.7"}},
	}
	if v2 {
		event = map[string]any{
			"version": "2.0", "rawPath": "/prod" + path, "rawQueryString": "username=" + user, "headers": headers,
			"requestContext": map[string]any{"stage": "prod", "http": map[string]string{"method": method, "sourceIp": "192.0.2.7"}},
		}
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return a, err
	}
	body, err := i.Invoke(s.t.Context(), string(payload), limit)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(body, &a)
}

// pair asks for the user's key, token first.
func (s *cloudScene) pair(i *Instance, v2 bool, user string) (p Pair, err error) {
	headers := map[string]string{"x-api-key": stackKey}
	a, err := s.call(i, v2, "POST", "/generate-token", "", headers)
	if err != nil || a.StatusCode != 200 {
		return p, fmt.Errorf("generate-token: %+v: %w", a, err)
	}
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(a.Body), &token); err != nil {
		return p, err
	}
	headers["Authorization"] = "Bearer " + token.Token
	a, err = s.call(i, v2, "GET", "/active-key", user, headers)
	if err != nil || a.StatusCode != 200 {
		return p, fmt.Errorf("active-key: %+v: %w", a, err)
	}
	return p, json.Unmarshal([]byte(a.Body), &p)
}

// works signs a request with the pair.
func (s *cloudScene) works(ctx context.Context, p Pair) error {
	c := sts.NewFromConfig(config(s.iamURL, aws.Credentials{AccessKeyID: p.AccessKeyId, SecretAccessKey: p.SecretAccessKey}))
	out, err := c.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil && !strings.HasSuffix(*out.Arn, "/"+p.UserName) {
		err = fmt.Errorf("the key of %s is that of %s", p.UserName, *out.Arn)
	}
	return err
}

// ids lists the user's keys in IAM.
func (s *cloudScene) ids(user string) string {
	s.t.Helper()
	out, err := s.admin.ListAccessKeys(s.t.Context(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for _, k := range out.AccessKeyMetadata {
		ids = append(ids, *k.AccessKeyId+":"+string(k.Status))
	}
	return strings.Join(ids, " ")
}

// The built function, driven as Lambda drives it: two instances of the rotator
// get every event at once, and each twice; the API's instance serves what they
// make; every key that it hands out works until its Expiration.
func TestLambda(t *testing.T) {
	t.Parallel()
	s := newCloudScene(t)
	first, second, api := s.start("rotator", "rotator-1"), s.start("rotator", "rotator-2"), s.start("api", "api")
	if _, err := s.tick(first, limit); err != nil {
		t.Fatal(err)
	}
	s.rotateUnderClients(first, second, api)
	s.refusals(api)
	s.lateAndShort(first)
	s.ordered(first)
	for _, chain := range []string{"rotator", "api"} {
		if end, err := s.audit(chain).Verify(t.Context()); err != nil || end.Seq == 0 {
			t.Errorf("the audit log of the %s = %v, %v", chain, end, err)
		}
	}
}

// rotateUnderClients goes on until each user has had its fourth key: how long
// that takes is the machine's affair.
func (s *cloudScene) rotateUnderClients(first, second, api *Instance) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, i := range []*Instance{first, second} {
		wg.Go(func() {
			for ctx.Err() == nil {
				event := tickAt(time.Now())
				for range 2 {
					res, err := s.send(i, event, limit)
					for _, u := range res.Users {
						if u.Error != "" {
							err = fmt.Errorf("user %s: %s", u.User, u.Error)
						}
					}
					if err != nil {
						s.t.Error("a tick:", err)
						return
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond): // as a schedule would
				}
			}
		})
	}
	seen, calls := map[string]map[string]bool{}, 0
	few := func(user string) bool { return len(seen[user]) < 4 }
	for n := 0; ctx.Err() == nil && slices.ContainsFunc(s.users, few); n++ {
		user := s.users[n%len(s.users)]
		p, err := s.pair(api, n%2 == 0, user)
		if err != nil {
			s.t.Error(err)
			break
		}
		if seen[user] == nil {
			seen[user] = map[string]bool{}
		}
		seen[user][p.AccessKeyId] = true
		if err := s.works(s.t.Context(), p); err != nil && time.Now().Before(p.Expiration) {
			s.t.Errorf("a key that was handed out until %s is refused: %v", p.Expiration, err)
		}
		calls++
		if ids := s.ids(user); strings.Count(ids, ":") > 2 {
			s.t.Errorf("%s has keys %s", user, ids)
		}
	}
	cancel()
	wg.Wait()
	for _, user := range s.users {
		if few(user) {
			s.t.Errorf("%s was given %d different keys, want 4", user, len(seen[user]))
		}
	}
	s.t.Logf("%d keys handed out, each of them worked", calls)
}

func (s *cloudScene) refusals(api *Instance) {
	s.t.Helper()
	for _, c := range []struct {
		name, method, path, key string
		want                    int
	}{
		{"a wrong API key", "POST", "/generate-token", strings.ToUpper(stackKey), 403},
		{"no token", "GET", "/active-key", stackKey, 401},
		{"an unknown path", "GET", "/nothing", stackKey, 404},
	} {
		a, err := s.call(api, false, c.method, c.path, "ann", map[string]string{"x-api-key": c.key})
		if err != nil || a.StatusCode != c.want {
			s.t.Errorf("%s: %+v, %v, want %d", c.name, a, err, c.want)
		}
	}
	if _, err := s.tick(api, limit); err == nil {
		s.t.Error("the API's function answered a schedule")
	}
}

// lateAndShort waits until a user is due and sends what must change nothing: an event
// that is too late, and one that leaves no time.
func (s *cloudScene) lateAndShort(i *Instance) {
	s.t.Helper()
	s.until("a key is due for a change", func() bool {
		res, err := s.send(i, `{"action":"rotate","dry_run":true}`, limit)
		if err != nil {
			s.t.Fatalf("a dry run: %+v, %v", res, err)
		}
		return changed(res, "create", "deactivate", "delete")
	})
	before := s.ids("ann") + s.ids("bob") + s.ids("cyd")
	res, err := s.send(i, tickAt(time.Now().Add(-2*time.Minute)), limit)
	if err != nil || res.Skipped != "late" {
		s.t.Errorf("a late event: %+v, %v", res, err)
	}
	res, err = s.tick(i, 20*time.Second) // which is the margin
	if err == nil && !res.Stopped {
		s.t.Errorf("an event without time: %+v, want stopped", res)
	}
	if after := s.ids("ann") + s.ids("bob") + s.ids("cyd"); after != before {
		s.t.Errorf("keys changed from %s to %s", before, after)
	}
	res, err = s.tick(i, limit)
	if after := s.ids("ann") + s.ids("bob") + s.ids("cyd"); err != nil || after == before {
		s.t.Errorf("the next event: %+v, %v, keys %s, want others", res, err, after)
	}
}

// ordered rotates one user at an operator's word.
func (s *cloudScene) ordered(i *Instance) {
	s.t.Helper()
	s.until("a forced rotation makes a key", func() bool { // there may be no room at first
		res, err := s.send(i, `{"action":"rotate","users":["ann"],"force":true,"wait_seconds":10}`, limit)
		if err != nil || len(res.Users) != 1 || res.Users[0].User != "ann" || res.Users[0].Error != "" {
			s.t.Fatalf("a forced rotation: %+v, %v", res, err)
		}
		return changed(res, "create")
	})
	if _, err := s.send(i, `{"action":"rotate","users":["eve"]}`, limit); err == nil {
		s.t.Error("a user outside the selection was accepted")
	}
}

// until asks again and again whether it is so.
func (s *cloudScene) until(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after %s still not so: %s", patience, what)
		}
	}
}

// changed tells whether the result has a step with one of the actions.
func changed(res lambda.Result, actions ...string) bool {
	for _, u := range res.Users {
		for _, step := range u.Steps {
			if slices.Contains(actions, step.Action) {
				return true
			}
		}
	}
	return false
}
