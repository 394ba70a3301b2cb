//go:build !nosandbox

package sandbox_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/sandbox"
)

func start(t *testing.T, o sandbox.Options) *sandbox.AWS {
	t.Helper()
	a, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return a
}

func static(id, secret string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	})
}

func s3Client(t *testing.T, a *sandbox.AWS, creds aws.CredentialsProvider) *s3.Client {
	t.Helper()
	cfg, err := a.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Credentials = creds
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.RetryMaxAttempts = aws.String(a.S3Endpoint()), true, 1
	})
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestS3OpensForActiveKeysOnly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := start(t, sandbox.Options{Users: []string{"app"}, Dir: t.TempDir()})
	cfg, err := a.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	admin := iam.NewFromConfig(cfg)
	user := aws.String("app")
	made, err := admin.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		t.Fatal(err)
	}
	id, secret := *made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey
	client := s3Client(t, a, static(id, secret))
	put := func(c *s3.Client) string {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(sandbox.Bucket), Key: aws.String("k/1"), Body: strings.NewReader("hello")})
		return code(err)
	}
	set := func(s iamtypes.StatusType) {
		t.Helper()
		_, err := admin.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: user, AccessKeyId: &id, Status: s})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := put(client); got != "" {
		t.Fatalf("PutObject with an active key = %s", got)
	}
	if got := put(s3Client(t, a, static(id, "wrong"))); got != "SignatureDoesNotMatch" {
		t.Errorf("PutObject with a wrong secret = %q", got)
	}
	if got := put(s3Client(t, a, aws.AnonymousCredentials{})); got != "AccessDenied" {
		t.Errorf("PutObject unsigned = %q", got)
	}
	set(iamtypes.StatusTypeInactive)
	if got := put(client); got != "InvalidAccessKeyId" {
		t.Errorf("PutObject with an inactive key = %q", got)
	}
	set(iamtypes.StatusTypeActive)
	if got := put(client); got != "" {
		t.Errorf("PutObject after reactivation = %q", got)
	}
	if _, err := admin.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: user, AccessKeyId: &id}); err != nil {
		t.Fatal(err)
	}
	if got := put(client); got != "InvalidAccessKeyId" {
		t.Errorf("PutObject with a deleted key = %q", got)
	}
}

func TestBucketStores(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := start(t, sandbox.Options{})
	c := s3Client(t, a, static(a.RootCredentials.AccessKeyID, a.RootCredentials.SecretAccessKey))
	bucket, key := aws.String(sandbox.Bucket), aws.String("a/b")
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("hello")}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); string(body) != "hello" || err != nil {
		t.Errorf("GetObject = %q, %v", body, err)
	}
	if head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key}); err != nil || *head.ContentLength != 5 {
		t.Errorf("HeadObject = %+v, %v", head, err)
	}
	if list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("a/")}); err != nil || len(list.Contents) != 1 {
		t.Errorf("ListObjectsV2 = %+v, %v", list, err)
	}
	if all, err := c.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil || len(all.Buckets) != 1 {
		t.Errorf("ListBuckets = %+v, %v", all, err)
	}
	if _, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); err != nil {
		t.Errorf("HeadBucket: %v", err)
	}
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
		t.Errorf("DeleteObject: %v", err)
	}
	_, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
	if got := code(err); got != "NoSuchKey" {
		t.Errorf("GetObject of nothing = %q", got)
	}
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("other"), Key: key, Body: strings.NewReader("x")})
	if got := code(err); got != "NoSuchBucket" {
		t.Errorf("PutObject elsewhere = %q", got)
	}
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(strings.Repeat("x", 1<<20+1))})
	if got := code(err); got != "EntityTooLarge" {
		t.Errorf("PutObject of too much = %q", got)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := sandbox.Start(t.Context(), sandbox.Options{Users: []string{"app"}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("state while running = %v, want one folder", left)
	}
	cfg, _ := a.Config(t.Context())
	cfg.RetryMaxAttempts = 1
	client := sts.NewFromConfig(cfg)
	if _, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Errorf("GetCallerIdentity as root: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("state after Close = %v, want none", left)
	}
	if _, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err == nil {
		t.Error("GetCallerIdentity after Close succeeded")
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := sandbox.Start(t.Context(), sandbox.Options{Dir: filepath.Join(dir, "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start in a missing folder = %v", err)
	}
	if _, err := sandbox.Start(t.Context(), sandbox.Options{Dir: dir, Users: []string{"a b"}}); err == nil || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("Start with a bad user name = %v, want an error that names it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sandbox.Start(ctx, sandbox.Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start canceled = %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("failed starts left %v", left)
	}
}
