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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

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

// changes reports whether the run changed that parameter.
func (d deployed) changes(parameter string) bool {
	return slices.ContainsFunc(d.Settings, func(c struct{ Name, Old, New string }) bool { return c.Name == parameter })
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

// conf makes a configuration file.
func (s *deployScene) conf(text string) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "keyrot.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
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
	// After an update moto finds something to change every time; the settings tell.
	if d, err := s.deploy(); err != nil || d.changes("LogRetentionDays") {
		t.Errorf("deploy without the flag = %+v, %v, want that the stack keeps its value", d, err)
	}
	if _, err := s.deploy("--api-users", "ci,db-*", "--allow-from", "10.0.0.0/8"); err != nil {
		t.Errorf("narrowing = %v", err)
	}
	if d, err := s.deploy(); err != nil || d.changes("ApiUsers") || d.changes("LogRetentionDays") {
		t.Errorf("deploy without the flags = %+v, %v, want no change", d, err)
	}
	if _, err := s.deploy("--api-users", "*"); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("widening with --yes = %v, want it refused", err)
	}
	if d, err := s.deploy("--api-users", "*", "--accept-widening"); err != nil || !d.changes("ApiUsers") {
		t.Errorf("widening that is accepted = %+v, %v", d, err)
	}
	if _, err := s.deploy("--config", s.conf("retire_idle: 48h\n")); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("a setting that a stack cannot keep = %v, want it refused", err)
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

// TestTemplateLint runs the checker that CloudFormation's makers publish.
func TestTemplateLint(t *testing.T) {
	t.Parallel()
	lint, err := installed("venv", "bin", "cfn-lint")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	name := filepath.Join(t.TempDir(), "keyrot.yaml")
	if err := os.WriteFile(name, []byte(templates.Keyrot()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, lint, name).CombinedOutput(); err != nil {
		t.Error(fmt.Errorf("%w\n%s", err, out))
	}
}
