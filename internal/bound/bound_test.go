package bound_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/internal/bound"
)

const deleted = `<DeleteAccessKeyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DeleteAccessKeyResponse>`

// An attempt whose answer does not come, or stops in the middle, ends, and the
// SDK makes another one, whichever service is asked.
func TestAnAnswerThatNeverComes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, body string){
		"no answer":            func(http.ResponseWriter, string) {},
		"an answer that stops": func(w http.ResponseWriter, body string) { _, _ = io.WriteString(w, body[:1]) },
	} {
		for service, call := range map[string]struct {
			body string
			make func(context.Context, aws.Config) error
		}{
			"IAM": {deleted, func(ctx context.Context, cfg aws.Config) error {
				_, err := iam.NewFromConfig(cfg).DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{AccessKeyId: aws.String("AKIAEXAMPLEEXAMPLE")})
				return err
			}},
			"DynamoDB": {"{}", func(ctx context.Context, cfg aws.Config) error {
				_, err := dynamodb.NewFromConfig(cfg).Query(ctx, &dynamodb.QueryInput{TableName: aws.String("t")})
				return err
			}},
			"KMS": {"{}", func(ctx context.Context, cfg aws.Config) error {
				_, err := kms.NewFromConfig(cfg).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("c")})
				return err
			}},
			"S3": {"<ListBucketResult/>", func(ctx context.Context, cfg aws.Config) error {
				_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("b")})
				return err
			}},
		} {
			t.Run(service+"/"+name, func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int32
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("X-Amzn-Requestid", "r")
					if calls.Add(1) > 1 {
						_, _ = io.WriteString(w, call.body)
						return
					}
					answer(w, call.body)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}))
				defer srv.Close()
				// Only so that a call without a bound fails, rather than the whole package.
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := call.make(ctx, awsanswer.Require(aws.Config{
					Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
					HTTPClient: bound.Within(bound.Client(), 2*time.Second), // in which any machine answers
				}))
				if err != nil || calls.Load() < 2 {
					t.Errorf("%v after %d attempts, want success with the second", err, calls.Load())
				}
			})
		}
	}
}

// A client of somebody else's making keeps what it is.
func TestWithin(t *testing.T) {
	t.Parallel()
	if c := (&http.Client{}); bound.Within(c, time.Second) != aws.HTTPClient(c) {
		t.Error("Within() replaced a client that is not the SDK's")
	}
	if bound.Within(nil, time.Second) != nil {
		t.Error("Within() made a client")
	}
	if c, ok := bound.Within(bound.Client(), time.Hour).(interface{ GetTimeout() time.Duration }); !ok || c.GetTimeout() != time.Hour {
		t.Error("Within() did not change the bound")
	}
}

// A connection of HTTP/2 that has died is given up, not used for every attempt.
func TestADeadConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, via := range map[string]*http.Transport{"the SDK's": bound.Client().GetTransport(), "net/http's": bound.Transport()} {
		if h := via.HTTP2; h == nil || h.SendPingTimeout == 0 || h.PingTimeout == 0 {
			t.Errorf("%s connections of HTTP/2 are never asked for a sign of life", name)
		}
	}
}

// So long as a body is sent, S3's client has the time that an upload takes.
func TestAnUploadHasItsTime(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n)
		w.Header().Set("X-Amz-Request-Id", "r")
	}))
	defer srv.Close()
	cfg := aws.Config{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		HTTPClient: bound.Within(bound.Client(), time.Nanosecond), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	put := func(opts ...func(*s3.Options)) error {
		_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader("body"),
		}, opts...)
		return err
	}
	if put() == nil {
		t.Error("a bound of a nanosecond ended nothing")
	}
	if err := put(func(o *s3.Options) { o.HTTPClient = bound.Within(o.HTTPClient, bound.Upload) }); err != nil || got.Load() == 0 {
		t.Errorf("PutObject with the bound of an upload = %v", err)
	}
}
