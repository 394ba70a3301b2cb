//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/content"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

const (
	stackName = "iam-key-rotation"
	leftTable = "keyrot-left" // by a former stack
)

// faultScene is an account on moto, behind a saboteur.
type faultScene struct {
	t    *testing.T
	moto *Process
	aws  *Saboteur
	cfg  aws.Config // past the saboteur
	cmd  string
	env  []string
	zip  string
	key  string // KMS key that goes with leftTable; "": none
}

func newFaultScene(t *testing.T, bin, dir string) (*faultScene, error) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	moto, err := StartMoto(t.Context(), dir)
	if err != nil {
		return nil, err
	}
	t.Cleanup(moto.Stop)
	sab, err := NewSaboteur(config(moto.URL, anyKey))
	if err != nil {
		return nil, err
	}
	t.Cleanup(sab.Close)
	zip, err := armZip(dir)
	return &faultScene{
		moto: moto, aws: sab, cfg: config(moto.URL, anyKey), cmd: filepath.Join(bin, "keyrot"), zip: zip,
		env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_ENDPOINT_URL=" + sab.URL, "AWS_REGION=" + Region,
			"AWS_ACCESS_KEY_ID=" + anyKey.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + anyKey.SecretAccessKey, "AWS_CONFIG_FILE=/dev/null",
			"KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100",
		},
	}, err
}

// run runs a keyrot command to its end.
func (s *faultScene) run(args ...string) result {
	s.t.Helper()
	env := s.env
	if args[0] == "deploy" {
		args = append(slices.Clone(args), "--function-zip", s.zip)
		env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "KEYROT_IAM_BURST=") }) // a stack cannot be told
	}
	var out, talk strings.Builder
	cmd := exec.CommandContext(s.t.Context(), s.cmd, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &talk
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), talk.String()}
}

// must runs a keyrot command that has to go well.
func (s *faultScene) must(args ...string) {
	s.t.Helper()
	if r := s.run(args...); r.code != 0 {
		s.t.Fatalf("preparing: keyrot %s: %s", strings.Join(args, " "), r)
	}
}

// empty is an account with two users to manage and one not to.
func (s *faultScene) empty(ctx context.Context) error {
	s.aws.Begin(Fault{})
	s.key = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.moto.URL+"/moto-api/reset", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	for user, tag := range map[string]string{"ann": "true", "bob": "true", "eve": "false"} {
		_, err := iam.NewFromConfig(s.cfg).CreateUser(ctx, &iam.CreateUserInput{
			UserName: &user, Path: aws.String("/machines/"), Tags: []iamtypes.Tag{{Key: aws.String("keyrot:managed"), Value: &tag}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *faultScene) nothing() {}

// deployed is a stack with a table of its own.
func (s *faultScene) deployed() {
	s.t.Helper()
	s.must(deployArgs()...)
}

// store joins the store in a table, past the saboteur.
func (s *faultScene) store(table, key string) *dynamodb.Store {
	return &dynamodb.Store{
		API: dynamodb.NewAPI(s.cfg), Table: table,
		Sealer: &kmsseal.Sealer{API: kmsseal.NewAPI(s.cfg), Key: key, Context: content.EncryptionContext},
	}
}

// rotated is a stack on a table whose users have a Current and a Previous key,
// and which knows what IAM allows.
// (moto deletes a table of the stack's own, whatever its DeletionPolicy says.)
func (s *faultScene) rotated() {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := ddb.NewFromConfig(s.cfg).CreateTable(ctx, dynamodb.Schema(leftTable)); err != nil {
		s.t.Fatal(err)
	}
	var err error
	if s.key, err = newKMSKey(ctx, s.cfg); err != nil {
		s.t.Fatal(err)
	}
	// What is promised for the older key is over soon; it is not deactivated
	// by the pass that supersedes it.
	for _, promise := range []time.Duration{time.Second, time.Hour} {
		s.rotate(promise)
	}
	raw := fmt.Appendf(nil, `{"CreateAccessKey":{"rate":50,"at":%q}}`, time.Now().UTC().Format(time.RFC3339))
	if _, err := s.store(leftTable, s.key).SaveSetting(ctx, "iam.pace", raw, 0); err != nil {
		s.t.Fatal(err)
	}
	s.must(deployArgs("--table", leftTable, "--kms-key", s.key)...)
	s.hurry()
}

// rotate gives each user a new key, in this process.
func (s *faultScene) rotate(deactivateAfter time.Duration) {
	s.t.Helper()
	clock := rotatetest.Clock()
	account := awsiam.New(s.cfg, clock)
	account.Pace = &pace.Budget{Most: 100, Burst: 100}
	r := &rotate.Rotator{
		Clock: clock, IAM: trusting{account}, Select: account.Select(awsiam.Selection{Names: []string{"ann", "bob"}}), ProofGap: -1, Proofs: 1,
		Store: s.store(leftTable, s.key),
		Policy: func(string) plan.Policy {
			return plan.Policy{RotateEvery: time.Minute, DeactivateAfter: deactivateAfter, DeleteAfter: 2 * time.Hour, Settle: 1}
		},
	}
	rep, err := r.RunOnce(s.t.Context(), rotate.Options{Force: deactivateAfter == time.Hour, Patience: time.Minute})
	if err != nil || len(rep.Failed()) > 0 {
		s.t.Fatalf("preparing: RunOnce() = %+v, %v", rep, err)
	}
}

// trusting spares moto the proof of a key: it accepts any.
type trusting struct{ rotate.IAM }

func (trusting) Verify(context.Context, rotate.User, string, rotate.Secret) error { return nil }

// hurry gives the stack a schedule by which the Previous keys are due as soon
// as what was promised for them is over, which only plain CloudFormation does.
func (s *faultScene) hurry() {
	s.t.Helper()
	ctx, c := s.t.Context(), cloudformation.NewFromConfig(s.cfg)
	out, err := c.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(stackName)})
	if err != nil {
		s.t.Fatal(err)
	}
	in := &cloudformation.UpdateStackInput{
		StackName: aws.String(stackName), UsePreviousTemplate: aws.Bool(true), Parameters: out.Stacks[0].Parameters, Tags: out.Stacks[0].Tags,
	}
	for i, p := range in.Parameters {
		if v := map[string]string{"RotateEvery": "60s", "DeactivateAfter": "1s", "DeleteAfter": "1100ms", "Settle": "0s"}[*p.ParameterKey]; v != "" {
			in.Parameters[i].ParameterValue = &v
		}
	}
	if _, err := c.UpdateStack(ctx, in); err != nil {
		s.t.Fatal(err)
	}
}

// state is all that matters of the account, in words that every run has in
// common. It is read again when the SDK gave a connection up while it was read:
// it closes a request's body while net/http may still note that it was sent.
func (s *faultScene) state() map[string]string {
	s.t.Helper()
	for try := 1; ; try++ {
		all, err := s.readState()
		if err == nil {
			return all
		}
		if try == 3 || !strings.Contains(err.Error(), "use of closed network connection") {
			s.t.Fatal(err)
		}
	}
}

func (s *faultScene) readState() (map[string]string, error) {
	ctx, all := s.t.Context(), map[string]string{}
	s.stackState(ctx, all)
	c := s3.NewFromConfig(s.cfg, func(o *s3.Options) { o.UsePathStyle = true })
	buckets, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return nil, err
	}
	for _, b := range buckets.Buckets {
		objects, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: b.Name})
		if err != nil {
			return nil, err
		}
		for _, o := range objects.Contents {
			all["bucket "+*b.Name] += *o.Key + " "
		}
	}
	for _, user := range []string{"ann", "bob", "eve"} {
		keys, err := iam.NewFromConfig(s.cfg).ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &user})
		if err != nil {
			return nil, err
		}
		for _, k := range keys.AccessKeyMetadata {
			all["keys of "+user] += string(k.Status) + " "
		}
	}
	tables, err := ddb.NewFromConfig(s.cfg).ListTables(ctx, &ddb.ListTablesInput{})
	if err != nil {
		return nil, err
	}
	all["tables"] = fmt.Sprint(len(tables.TableNames))
	roles, err := iam.NewFromConfig(s.cfg).ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil {
		return nil, err
	}
	all["roles"] = fmt.Sprint(len(roles.Roles))
	if s.key != "" {
		key, err := kms.NewFromConfig(s.cfg).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &s.key})
		if err != nil {
			return nil, err
		}
		all["KMS key"] = string(key.KeyMetadata.KeyState)
	}
	return all, nil
}

func (s *faultScene) stackState(ctx context.Context, all map[string]string) {
	c := cloudformation.NewFromConfig(s.cfg)
	out, err := c.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(stackName)})
	if err != nil || len(out.Stacks) == 0 {
		return // there is none
	}
	all["stack"] = string(out.Stacks[0].StackStatus)
	if all["stack"] == string(cfntypes.StackStatusUpdateComplete) { // a re-run may find all done, or do it
		all["stack"] = string(cfntypes.StackStatusCreateComplete)
	}
	for _, p := range out.Stacks[0].Parameters {
		value := *p.ParameterValue
		if s.key != "" {
			value = strings.ReplaceAll(value, s.key, "KEY")
		}
		all["parameter "+*p.ParameterKey] = value
	}
	res, err := c.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: aws.String(stackName)})
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, r := range res.StackResources {
		names = append(names, aws.ToString(r.LogicalResourceId))
	}
	slices.Sort(names)
	all["resources"] = strings.Join(names, " ")
}
