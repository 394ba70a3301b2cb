//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// config reaches a server of this machine. Calls are repeated, because
// connections are dropped now and then; a refusal is not.
func config(url string, c aws.Credentials) aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: &url, RetryMaxAttempts: 5, HTTPClient: repeating{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }),
	}
}

// repeating sends a request again if its connection breaks before the answer.
// The SDK does so by itself; keyrot's other calls are left to whoever makes them,
// who tries again later.
type repeating struct{}

func (repeating) Do(req *http.Request) (*http.Response, error) {
	body := []byte{}
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	for left := 4; ; left-- {
		again := req.Clone(req.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		res, err := http.DefaultTransport.RoundTrip(again)
		if err == nil || left == 0 || req.Context().Err() != nil {
			return res, err
		}
	}
}

// shortDir returns a temporary folder with a path short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keyrot-e2e-") //nolint:usetesting // t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// The negative control of all that builds on these servers: a key works until
// it is deactivated, and then it is refused.
func TestVersitygwGatesS3(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	v, err := StartVersitygw(ctx, shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Stop)
	admin, user, bucket := iam.NewFromConfig(config(v.IAM.URL, v.Root)), aws.String("app"), aws.String("demo")
	if _, err := admin.CreateUser(ctx, &iam.CreateUserInput{UserName: user}); err != nil {
		t.Fatal(err)
	}
	_, err = admin.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
		UserName: user, PolicyName: aws.String("s3"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := admin.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		t.Fatal(err)
	}
	client := func(c aws.Credentials) *s3.Client {
		return s3.NewFromConfig(config(v.S3.URL, c), func(o *s3.Options) { o.UsePathStyle = true })
	}
	if _, err := client(v.Root).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	app := client(aws.Credentials{AccessKeyID: *made.AccessKey.AccessKeyId, SecretAccessKey: *made.AccessKey.SecretAccessKey})
	put := func() error {
		_, err := app.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("x")})
		return err
	}
	if err := put(); err != nil {
		t.Errorf("PutObject with an active key: %v", err)
	}
	_, err = admin.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: user, AccessKeyId: made.AccessKey.AccessKeyId, Status: "Inactive"})
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[smithy.APIError](put()); !ok || e.ErrorCode() != "InvalidAccessKeyId" {
		t.Errorf("PutObject with an inactive key = %v, want InvalidAccessKeyId", e)
	}
}

// The differential test lives beside its script and needs a server.
func TestMotoAnswersLikeTheSimulation(t *testing.T) {
	t.Parallel()
	p, err := StartMoto(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags=e2e", "-run=^TestMoto", "../../internal/difftest")
	cmd.Env = append(os.Environ(), "KEYROT_MOTO_ENDPOINT="+p.URL)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	}
}
