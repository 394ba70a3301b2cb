//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"

	"github.com/keyrot/keyrot/templates"
)

// byService are actions that Lambda takes with a function's role: no code of
// ours calls them.
var byService = []string{"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}

// functionScene is what functions work with, and their environment.
type functionScene struct {
	table, key, secret string
	env                []string
}

// policy is the policy of the template's role in this scene.
func (f functionScene) policy(t *testing.T, role string) Policy {
	t.Helper()
	tpl, err := NewTemplate(templates.Keyrot(), map[string]string{
		"AWS::Partition": "aws", "AWS::Region": Region, "AWS::AccountId": "123456789012",
		"UserPath": "/machines/", "UserTag": "keyrot:managed=true", "SenderEmail": "keyrot@example.com", "AdminEmail": "ops@example.com",
		"DeniedUserArns": userARN("eve"), "Table": f.table, "Key.Arn": f.key, "ApiSecret": f.secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tpl.Policy(role)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The roles allow what the functions call, on what they call it, and no action
// besides: two instances of each built function are driven through rotations,
// hand-outs, every failure and a damaged log, before a server that refuses what
// the template's policies do not allow.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	ctx := t.Context()
	if out, err := s.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(out, err) // is retired, which asks when it was last used
	}
	bootstrap, _, err := BuildBootstrap(ctx, s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f := s.functionEnv()
	scenes, recs := map[string]*cloudScene{}, map[string]*Recorder{}
	for _, role := range []string{"RotatorRole", "ApiRole"} {
		rec, err := NewRecorder(s.moto.URL, f.policy(t, role), tagsOf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(rec.Close)
		recs[role] = rec
		scenes[role] = &cloudScene{
			t: t, dir: s.Dir, bootstrap: bootstrap, users: []string{"ann", "bob"},
			env: append(slices.Clone(f.env), "AWS_ENDPOINT_URL="+rec.URL),
		}
	}
	rotateInRole(scenes["RotatorRole"], recs["RotatorRole"])
	for n := range 25 { // a path of many users is not read user by user
		if _, err := s.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String(fmt.Sprint("u", n)), Path: aws.String("/machines/")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := scenes["RotatorRole"].tick(scenes["RotatorRole"].start("rotator", "rotator-3"), limit); err != nil {
		t.Error("a tick with many users:", err)
	}
	compare(t, "RotatorRole", recs["RotatorRole"].Take(), f.policy(t, "RotatorRole"))
	serveInRole(scenes["ApiRole"], recs["ApiRole"], func() error {
		_, err := ddb.NewFromConfig(config(s.moto.URL, anyKey)).DeleteItem(ctx, &ddb.DeleteItemInput{
			TableName: &f.table, Key: map[string]ddbtypes.AttributeValue{
				"pk": &ddbtypes.AttributeValueMemberS{Value: "audit"}, "sk": &ddbtypes.AttributeValueMemberS{Value: "api"},
			},
		})
		return err
	})
	compare(t, "ApiRole", recs["ApiRole"].Take(), f.policy(t, "ApiRole"))
	for _, c := range []struct {
		role string
		call Call
	}{ // what the policies must refuse, or the comparison means nothing
		{"RotatorRole", Call{Action: "iam:CreateAccessKey", Resource: userARN("eve")}},
		{"RotatorRole", Call{Action: "iam:CreateAccessKey", Resource: "arn:aws:iam::123456789012:user/people/ann"}},
		{"RotatorRole", Call{Action: "dynamodb:PutItem", Resource: tableARN("another")}},
		{"RotatorRole", Call{Action: "kms:Decrypt", Resource: strings.Replace(f.key, ":key/", ":key/0", 1)}},
		{"RotatorRole", Call{Action: "ses:SendEmail", Resource: identityARN("keyrot@example.com"), From: "boss@example.com"}},
		{"ApiRole", Call{Action: "iam:CreateAccessKey", Resource: userARN("ann")}},
		{"ApiRole", Call{Action: "secretsmanager:GetSecretValue", Resource: f.secret + "0"}},
		{"ApiRole", Call{Action: "dynamodb:Query", Resource: tableARN(f.table), Leading: "entry"}},
		{"ApiRole", Call{Action: "dynamodb:Query", Resource: tableARN(f.table), Leading: "audit#rotator"}},
	} {
		if err := f.policy(t, c.role).Allows(c.call, tagsOf); err == nil {
			t.Errorf("%s allows %+v", c.role, c.call)
		}
	}
}

// rotateInRole drives two instances of the rotator in turn, at first in peace,
// then with each of their calls failing for a tick.
func rotateInRole(s *cloudScene, rec *Recorder) {
	s.t.Helper()
	two := []*Instance{s.start("rotator", "rotator-1"), s.start("rotator", "rotator-2")}
	tick := func(n int) (err error) {
		res, err := s.tick(two[n%2], limit)
		for _, u := range res.Users {
			if u.Error != "" {
				err = errors.Join(err, errors.New(u.User+": "+u.Error))
			}
		}
		time.Sleep(time.Second) // real servers, real time
		return err
	}
	for n := range 12 {
		if err := tick(n); err != nil {
			s.t.Fatal("a tick:", err)
		}
	}
	time.Sleep(8 * time.Second) // everybody is overdue, which a pass that is stopped before it begins tells
	mailed := false
	rec.Fail(func(c Call) bool {
		mailed = mailed || c.Action == "ses:SendEmail"
		return false
	})
	res, err := s.tick(two[0], 20*time.Second) // which is the margin
	rec.Fail(nil)
	if err != nil || !res.Stopped || !mailed {
		s.t.Errorf("a tick without time = %+v, %v, mailed: %t, want it stopped, and told", res, err, mailed)
	}
	for n, k := range rec.Kinds() {
		rec.Fail(func(c Call) bool { return c.Kind() == k })
		_ = tick(n) // which may fail
		rec.Fail(nil)
	}
	good, n := 0, 0
	s.until("four ticks are well, one after the other, after all failures are over", func() bool { // there is a back-off
		err := tick(n)
		if n, good = n+1, good+1; err != nil {
			s.t.Log(err)
			good = 0
		}
		return good == 4
	})
}

// serveInRole drives two instances of the API in turn: in peace, after each of
// their calls has failed for a hand-out, and on a log whose end damage takes
// away.
func serveInRole(s *cloudScene, rec *Recorder, damage func() error) {
	s.t.Helper()
	two := []*Instance{s.start("api", "api-1"), s.start("api", "api-2")}
	serve := func(after string) {
		for n := range 6 {
			if _, err := s.pair(two[n%2], true, s.users[n%len(s.users)]); err != nil {
				s.t.Errorf("a hand-out %s: %v", after, err)
			}
		}
	}
	serve("in peace")
	for n, k := range rec.Kinds() {
		rec.Fail(func(c Call) bool { return c.Kind() == k })
		_, _ = s.pair(two[n%2], true, "ann") // which may fail
		rec.Fail(nil)
		serve("after " + k + " has failed")
	}
	if err := damage(); err != nil {
		s.t.Fatal(err)
	}
	serve("after the end of the log was lost")
}

// tagsOf are the tags of the users of a deployScene.
func tagsOf(arn string) map[string]string {
	return map[string]string{"keyrot:managed": map[bool]string{true: "true", false: "false"}[arn != userARN("eve")]}
}

func compare(t *testing.T, role string, called []Call, p Policy) {
	t.Helper()
	actions := map[string]bool{}
	for _, c := range called {
		actions[c.Action] = true
		if err := p.Allows(c, tagsOf); err != nil {
			t.Errorf("%s does not allow %+v: %v", role, c, err)
		}
	}
	for _, a := range p.Actions() {
		if !actions[a] && !slices.Contains(byService, a) {
			t.Errorf("%s allows %s, which nobody calls", role, a)
		}
	}
}

// functionEnv is the environment of functions on moto, but for its address.
func (s *deployScene) functionEnv() functionScene {
	s.t.Helper()
	ctx, cfg := s.t.Context(), config(s.moto.URL, anyKey)
	table, err := newTable(ctx, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := newKMSKey(ctx, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("api"), SecretString: aws.String(`{"api_key":"` + stackKey + `"}`),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, address := range []string{"keyrot@example.com", "ops@example.com"} {
		if _, err := sesv2.NewFromConfig(cfg).CreateEmailIdentity(ctx, &sesv2.CreateEmailIdentityInput{EmailIdentity: &address}); err != nil {
			s.t.Fatal(err)
		}
	}
	return functionScene{table: table, key: key, secret: *secret.ARN, env: []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=" + Region, "AWS_CONFIG_FILE=/dev/null",
		"AWS_ACCESS_KEY_ID=" + anyKey.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + anyKey.SecretAccessKey,
		"AWS_LAMBDA_FUNCTION_NAME=keyrot", "AWS_LAMBDA_LOG_STREAM_NAME=stream-0",
		"KEYROT_STORE_TABLE=" + table, "KEYROT_STORE_KMS_KEY=" + key, "KEYROT_API_SECRET=" + *secret.ARN,
		"KEYROT_USERS_PATH_PREFIX=/machines/", "KEYROT_USERS_TAG=keyrot:managed=true", "KEYROT_EXISTING_KEYS=retire", "KEYROT_USERS_EXCLUDE=eve",
		"KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100",
		"KEYROT_NOTIFY_SES_FROM=keyrot@example.com", "KEYROT_NOTIFY_SES_TO=ops@example.com", "KEYROT_NOTIFY_DIGEST=each",
		"KEYROT_ROTATE_EVERY=4s", "KEYROT_DEACTIVATE_AFTER=6s", "KEYROT_DELETE_AFTER=8s", "KEYROT_SETTLE=0s",
	}}
}
