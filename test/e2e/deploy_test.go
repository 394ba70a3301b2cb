//go:build e2e

package e2e

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"go.yaml.in/yaml/v3"

	"github.com/keyrot/keyrot/templates"
)

// deployScene is an account on moto with two users to manage and one not to.
type deployScene struct {
	*Keyrot
	t    *testing.T
	moto *Process
	zip  string
	iam  *iam.Client
}

func newDeployScene(t *testing.T) *deployScene {
	t.Helper()
	ctx := t.Context()
	dir := shortDir(t)
	bin, err := BuildKeyrot(ctx, filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	moto, err := StartMoto(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moto.Stop)
	s := &deployScene{t: t, moto: moto, iam: iam.NewFromConfig(config(moto.URL, anyKey)), Keyrot: &Keyrot{Bin: bin, Dir: dir, Env: []string{
		"AWS_ENDPOINT_URL=" + moto.URL, "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=" + anyKey.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + anyKey.SecretAccessKey, "AWS_CONFIG_FILE=/dev/null",
	}}}
	for user, tag := range map[string]string{"ann": "true", "bob": "true", "eve": "false"} {
		_, err := s.iam.CreateUser(ctx, &iam.CreateUserInput{
			UserName: &user, Path: aws.String("/machines/"), Tags: []iamtypes.Tag{{Key: aws.String("keyrot:managed"), Value: &tag}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.zip, err = armZip(dir); err != nil {
		t.Fatal(err)
	}
	return s
}

// armZip makes a zip of a program that is one in its head only: what Lambda
// would run is built and driven by TestLambda.
func armZip(dir string) (string, error) {
	head := make([]byte, 64+56)
	copy(head, "\x7fELF\x02\x01")
	head[18], head[32], head[54], head[56], head[64] = 183, 64, 56, 1, 1
	name := filepath.Join(dir, "function.zip")
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	z := zip.NewWriter(f)
	h := &zip.FileHeader{Name: "bootstrap"}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write(head)
	}
	return name, errors.Join(err, z.Close(), f.Close())
}

type deployed struct {
	Stack, Status string
	Changed       bool
	Settings      []struct{ Name, Old, New string }
}

func (s *deployScene) deploy(args ...string) (d deployed, err error) {
	s.t.Helper()
	out, err := s.Run(s.t.Context(), append([]string{
		"deploy", "--admin-email", "admin@example.com", "--path-prefix", "/machines/", "--tag", "keyrot:managed=true",
		"--function-zip", s.zip, "--yes", "-o", "json",
	}, args...)...)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(out, &d)
}

func (s *deployScene) resources() map[string]string {
	s.t.Helper()
	out, err := cloudformation.NewFromConfig(config(s.moto.URL, anyKey)).DescribeStackResources(s.t.Context(), &cloudformation.DescribeStackResourcesInput{StackName: aws.String("iam-key-rotation")})
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, r := range out.StackResources {
		if id := aws.ToString(r.LogicalResourceId); id != "" {
			all[id] = aws.ToString(r.PhysicalResourceId)
		}
	}
	return all
}

// The whole life of a stack: made, made again, updated, used, removed.
func TestDeploy(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	ctx := t.Context()
	if _, err := s.deploy("--dry-run"); err != nil || s.resources() != nil {
		t.Fatalf("a dry run: %v, resources %v", err, s.resources())
	}
	d, err := s.deploy()
	if err != nil || d.Status != "CREATE_COMPLETE" || !d.Changed {
		t.Fatalf("deploy = %+v, %v", d, err)
	}
	made := s.resources()
	for _, name := range []string{"Table", "Key", "RotatorRole", "ApiRole", "Rotator", "Api", "Tick", "RestApi", "Alarms", "DeadLetters"} {
		if made[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if d, err := s.deploy(); err != nil || d.Changed {
		t.Errorf("deploy again = %+v, %v, want no change", d, err)
	}
	d, err = s.deploy("--log-retention", "30")
	if err != nil || d.Status != "UPDATE_COMPLETE" || !slices.ContainsFunc(d.Settings, func(c struct{ Name, Old, New string }) bool {
		return c.Name == "LogRetentionDays" && c.Old == "90" && c.New == "30"
	}) {
		t.Errorf("update = %+v, %v", d, err)
	}
	if now := s.resources(); now["Table"] != made["Table"] || now["Key"] != made["Key"] {
		t.Error("the update made another table or key")
	}
	if _, err := s.Run(ctx, "cleanup", "--yes", "--delete-secrets"); err != nil {
		t.Error(err)
	}
	s.nothingLeft(made["Table"])
	if _, err := s.Run(ctx, "cleanup", "--yes"); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("cleanup again = %v, want nothing to do", err)
	}
}

// A stack on a table that a former one left: operators work on it, and when it
// goes, every user keeps one key and the table stays. (moto deletes a table of
// the stack's own, whatever its DeletionPolicy says.)
func TestDeployTakesOver(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	ctx, cfg := t.Context(), config(s.moto.URL, anyKey)
	table, err := newTable(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKMSKey(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.deploy("--table", table, "--kms-key", key); err != nil {
		t.Fatal(err)
	}
	if made := s.resources(); made["Table"] != "" || made["Key"] != "" {
		t.Errorf("the stack made a table or key of its own: %v", made)
	}
	s.operate()
	out, err := s.Run(ctx, "cleanup", "--yes", "--wait", "0s", "-o", "json")
	if err != nil || strings.Count(string(out), `"keeps": "AKIA`) != 2 {
		t.Errorf("cleanup = %s, %v, want a working key for both users", out, err)
	}
	for _, user := range []string{"ann", "bob"} {
		keys, err := s.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &user})
		if err != nil || len(keys.AccessKeyMetadata) != 1 || keys.AccessKeyMetadata[0].Status != iamtypes.StatusTypeActive || !strings.Contains(string(out), *keys.AccessKeyMetadata[0].AccessKeyId) {
			t.Errorf("%s has %+v, %v, want one active key, the one that was named", user, keys.AccessKeyMetadata, err)
		}
	}
	if _, err := s.Run(ctx, "status", "--table", table, "--kms-key", key); err != nil {
		t.Error("the table that stays cannot be read:", err)
	}
	if _, err := s.Run(ctx, "cleanup", "--yes", "--delete-secrets", "--table", table, "--kms-key", key); err != nil {
		t.Error(err)
	}
	s.nothingLeft(table)
}

// operate works on the stack as an operator does, with the deployed table.
func (s *deployScene) operate() {
	s.t.Helper()
	stack := []string{"--stack", "iam-key-rotation"}
	run := func(args ...string) string {
		out, err := s.Run(s.t.Context(), append(args, stack...)...)
		if err != nil {
			s.t.Error(err)
		}
		return string(out)
	}
	run("users", "enroll")
	if out := run("status"); !strings.Contains(out, "ann") || !strings.Contains(out, "bob") || strings.Contains(out, "eve") {
		s.t.Errorf("status = %s", out)
	}
	run("pause", "ann")
	if out := run("status"); !strings.Contains(out, "paused") {
		s.t.Errorf("status of a paused user = %s", out)
	}
	run("resume", "ann")
	if out := run("audit", "verify"); !strings.Contains(out, "the chain holds") {
		s.t.Errorf("audit verify = %s", out)
	}
}

func (s *deployScene) nothingLeft(table string) {
	s.t.Helper()
	ctx, cfg := s.t.Context(), config(s.moto.URL, anyKey)
	if left := s.resources(); left != nil {
		s.t.Errorf("the stack still has %v", left)
	}
	if out, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil || len(out.Buckets) > 0 {
		s.t.Errorf("buckets left: %v, %v", out, err)
	}
	if out, err := s.iam.ListRoles(ctx, &iam.ListRolesInput{}); err != nil || len(out.Roles) > 0 {
		s.t.Errorf("roles left: %v, %v", out, err)
	}
	if out, err := ddb.NewFromConfig(cfg).ListTables(ctx, &ddb.ListTablesInput{}); err != nil || slices.Contains(out.TableNames, table) {
		s.t.Errorf("tables left: %v, %v", out, err)
	}
}

// byService are actions that Lambda takes with a function's role: no code of
// ours calls them.
var byService = []string{"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}

// allowed lists the actions that the template's role allows, those that are
// for another way to select users left out.
func allowed(t *testing.T, role string, leaveOut ...string) []string {
	t.Helper()
	var doc struct {
		Resources map[string]struct {
			Properties struct {
				Policies []struct {
					PolicyDocument struct {
						Statement []yaml.Node `yaml:"Statement"`
					} `yaml:"PolicyDocument"`
				} `yaml:"Policies"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(templates.Keyrot()), &doc); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range doc.Resources[role].Properties.Policies[0].PolicyDocument.Statement {
		node := s
		if s.Kind == yaml.SequenceNode { // !If [condition, statement, nothing]
			node = *s.Content[1]
		}
		var st struct {
			Sid    string    `yaml:"Sid"`
			Effect string    `yaml:"Effect"`
			Action yaml.Node `yaml:"Action"`
		}
		if err := node.Decode(&st); err != nil {
			t.Fatal(err)
		}
		if st.Effect != "Allow" || slices.Contains(leaveOut, st.Sid) {
			continue
		}
		actions := []string{st.Action.Value}
		if st.Action.Kind == yaml.SequenceNode {
			actions = nil
			for _, a := range st.Action.Content {
				actions = append(actions, a.Value)
			}
		}
		all = append(all, actions...)
	}
	all = slices.DeleteFunc(all, func(a string) bool { return slices.Contains(byService, a) })
	slices.Sort(all)
	return slices.Compact(all)
}

// The roles allow what the functions call, and nothing else: the built
// function is driven through rotations and hand-outs, and every call noted.
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
	scene := &cloudScene{t: t, dir: s.Dir, bootstrap: bootstrap, env: s.functionEnv(rec.URL), users: []string{"ann", "bob"}}
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
	compare(t, "RotatorRole", rec.Take(), allowed(t, "RotatorRole", "FindUsers"))
	api := scene.start("api", "api")
	for _, user := range []string{"ann", "ann"} {
		if _, err := scene.pair(api, true, user); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "ApiRole", rec.Take(), allowed(t, "ApiRole"))
}

func compare(t *testing.T, role string, called, allowed []string) {
	t.Helper()
	for _, a := range called {
		if !slices.Contains(allowed, a) {
			t.Errorf("%s does not allow %s", role, a)
		}
	}
	for _, a := range allowed {
		if !slices.Contains(called, a) {
			t.Errorf("%s allows %s, which nobody calls", role, a)
		}
	}
}

// functionEnv is the environment of functions on moto, behind the recorder.
func (s *deployScene) functionEnv(url string) []string {
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
	return []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=" + Region, "AWS_CONFIG_FILE=/dev/null", "AWS_ENDPOINT_URL=" + url,
		"AWS_ACCESS_KEY_ID=" + anyKey.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + anyKey.SecretAccessKey,
		"AWS_LAMBDA_FUNCTION_NAME=keyrot", "AWS_LAMBDA_LOG_STREAM_NAME=stream",
		"KEYROT_STORE_TABLE=" + table, "KEYROT_STORE_KMS_KEY=" + key, "KEYROT_API_SECRET=" + *secret.ARN,
		"KEYROT_USERS_PATH_PREFIX=/machines/", "KEYROT_USERS_TAG=keyrot:managed=true", "KEYROT_EXISTING_KEYS=retire",
		"KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100",
		"KEYROT_NOTIFY_SES_FROM=keyrot@example.com", "KEYROT_NOTIFY_SES_TO=ops@example.com", "KEYROT_NOTIFY_DIGEST=each",
		"KEYROT_ROTATE_EVERY=4s", "KEYROT_DEACTIVATE_AFTER=6s", "KEYROT_DELETE_AFTER=8s", "KEYROT_SETTLE=0s",
	}
}

// TestTemplateLint runs the checker that CloudFormation's makers publish.
func TestTemplateLint(t *testing.T) {
	t.Parallel()
	lint, err := installed("venv", "bin", "cfn-lint")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	name := filepath.Join(t.TempDir(), "keyrot.yaml")
	if err := os.WriteFile(name, []byte(templates.Keyrot()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, lint, name).CombinedOutput(); err != nil {
		t.Error(fmt.Errorf("%w\n%s", err, out))
	}
}
