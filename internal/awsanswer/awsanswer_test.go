package awsanswer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/keyrot/keyrot/internal/awsanswer"
)

const (
	page    = `<!DOCTYPE html><html><body>Please sign in</body></html>`
	xhtml   = `<html><body>Please sign in</body></html>`
	updated = `<UpdateAccessKeyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestId></ResponseMetadata></UpdateAccessKeyResponse>`
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		calls []string
		id    bool // there is a request id in the headers
		body  string
		own   bool
	}{
		{"IAM's own answer", []string{"iam"}, true, updated, true},
		{"IAM's own answer without its headers", []string{"iam"}, false, updated, true},
		{"IAM's answer cut short", []string{"iam"}, true, updated[:len(updated)-30], false},
		{"IAM's answer without a request id", []string{"iam"}, true, `<UpdateAccessKeyResponse/>`, false},
		{"IAM's answer to another call, as a cache kept it", []string{"iam"}, true, strings.ReplaceAll(updated, "UpdateAccessKey", "DeleteAccessKey"), false},
		{"an empty body with IAM's headers", []string{"iam", "kms"}, true, "", false},
		{"an empty body", []string{"iam", "kms", "s3"}, false, "", false},
		{"a page", []string{"iam", "kms", "s3"}, false, page, false},
		{"a page that is XML", []string{"iam", "kms", "s3"}, false, xhtml, false},
		{"a page with a service's headers", []string{"iam", "kms"}, true, page, false},
		{"KMS's own answer", []string{"kms"}, true, `{"KeyId":"k"}`, true},
		{"somebody's JSON", []string{"iam", "kms", "s3"}, false, `{"status":"ok"}`, false},
		{"JSON that is no object", []string{"kms"}, true, `null`, false},
		{"S3's own answer", []string{"s3"}, true, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.id {
					w.Header().Set("X-Amzn-Requestid", "r")
				}
				_, _ = w.Write([]byte(tt.body))
			}))
			defer srv.Close()
			cfg := awsanswer.Require(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
			for _, c := range tt.calls {
				var err error
				switch c {
				case "iam":
					_, err = iam.NewFromConfig(cfg).UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{AccessKeyId: aws.String("AKIAEXAMPLEEXAMPLE"), Status: "Inactive"})
				case "kms":
					_, err = kms.NewFromConfig(cfg).ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: aws.String("k")})
				case "s3":
					_, err = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).PutObject(t.Context(), &s3.PutObjectInput{
						Bucket: aws.String("b"), Key: aws.String("k"), ContentType: aws.String("application/json"), Body: strings.NewReader("{}"),
					})
				}
				if errors.Is(err, awsanswer.ErrForeign) == tt.own || tt.own && err != nil {
					t.Errorf("%s: %v, want the service's own: %t", c, err, tt.own)
				}
			}
		})
	}
}
