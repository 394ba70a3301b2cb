//go:build e2e

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

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
// besides: the built function is driven through rotations and hand-outs, and
// every call noted.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	ctx := t.Context()
	if out, err := s.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(out, err) // is retired, which asks when it was last used
	}
	rec, err := NewRecorder(s.moto.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rec.Close)
	bootstrap, _, err := BuildBootstrap(ctx, s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f := s.functionEnv(rec.URL)
	scene := &cloudScene{t: t, dir: s.Dir, bootstrap: bootstrap, env: f.env, users: []string{"ann", "bob"}}
	rotator := scene.start("rotator", "rotator")
	for range 10 {
		if _, err := scene.tick(rotator, limit); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // real servers, real time
	}
	again := scene.start("rotator", "rotator-again") // with nothing in memory
	if _, err := scene.tick(again, limit); err != nil {
		t.Fatal(err)
	}
	compare(t, "RotatorRole", rec.Take(), f.policy(t, "RotatorRole"))
	api := scene.start("api", "api")
	for _, user := range []string{"ann", "ann"} {
		if _, err := scene.pair(api, true, user); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "ApiRole", rec.Take(), f.policy(t, "ApiRole"))
	for _, c := range []struct {
		role string
		call Call
	}{ // what the policies must refuse, or the comparison means nothing
		{"RotatorRole", Call{"iam:CreateAccessKey", userARN("eve"), ""}},
		{"RotatorRole", Call{"iam:CreateAccessKey", "arn:aws:iam::123456789012:user/people/ann", ""}},
		{"RotatorRole", Call{"dynamodb:PutItem", tableARN("another"), ""}},
		{"RotatorRole", Call{"kms:Decrypt", strings.Replace(f.key, ":key/", ":key/0", 1), ""}},
		{"RotatorRole", Call{"ses:SendEmail", identityARN("keyrot@example.com"), "boss@example.com"}},
		{"ApiRole", Call{"iam:CreateAccessKey", userARN("ann"), ""}},
		{"ApiRole", Call{"secretsmanager:GetSecretValue", f.secret + "0", ""}},
	} {
		if err := f.policy(t, c.role).Allows(c.call, tagsOf); err == nil {
			t.Errorf("%s allows %+v", c.role, c.call)
		}
	}
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

// functionEnv is the environment of functions on moto, behind the recorder.
func (s *deployScene) functionEnv(url string) functionScene {
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
	return functionScene{table: table, key: key, secret: *secret.ARN, env: []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=" + Region, "AWS_CONFIG_FILE=/dev/null", "AWS_ENDPOINT_URL=" + url,
		"AWS_ACCESS_KEY_ID=" + anyKey.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + anyKey.SecretAccessKey,
		"AWS_LAMBDA_FUNCTION_NAME=keyrot", "AWS_LAMBDA_LOG_STREAM_NAME=stream",
		"KEYROT_STORE_TABLE=" + table, "KEYROT_STORE_KMS_KEY=" + key, "KEYROT_API_SECRET=" + *secret.ARN,
		"KEYROT_USERS_PATH_PREFIX=/machines/", "KEYROT_USERS_TAG=keyrot:managed=true", "KEYROT_EXISTING_KEYS=retire",
		"KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100",
		"KEYROT_NOTIFY_SES_FROM=keyrot@example.com", "KEYROT_NOTIFY_SES_TO=ops@example.com", "KEYROT_NOTIFY_DIGEST=each",
		"KEYROT_ROTATE_EVERY=4s", "KEYROT_DEACTIVATE_AFTER=6s", "KEYROT_DELETE_AFTER=8s", "KEYROT_SETTLE=0s",
	}}
}
