package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/dynamodb"
)

// strictAWS refuses what is not signed by its clock, which is a day ahead, and
// everything else for another reason. accepted is what was signed well.
func strictAWS(t *testing.T) (sdk aws.Config, accepted func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(ahead).UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		w.Header().Set("X-Amzn-Requestid", "r")
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		late := err != nil || now.Sub(at).Abs() > 5*time.Minute
		if !late {
			mu.Lock()
			n++
			mu.Unlock()
		}
		code := map[bool]string{true: "InvalidSignatureException", false: "ValidationException"}[late]
		switch target := r.Header.Get("X-Amz-Target"); {
		case target != "":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"`+code+`","message":"m"}`)
		case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/bucket"):
			w.WriteHeader(http.StatusForbidden)
			code = map[bool]string{true: "RequestTimeTooSkewed", false: "AccessDenied"}[late]
			_, _ = io.WriteString(w, `<Error><Code>`+code+`</Code><Message>m</Message></Error>`)
		default:
			w.WriteHeader(http.StatusForbidden)
			code = map[bool]string{true: "SignatureDoesNotMatch", false: "AccessDenied"}[late]
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>`+code+`</Code><Message>Signature expired: m</Message></Error></ErrorResponse>`)
		}
	}))
	t.Cleanup(srv.Close)
	return aws.Config{
			Region: "eu-west-1", BaseEndpoint: &srv.URL,
			Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		}, func() int {
			mu.Lock()
			defer mu.Unlock()
			return n
		}
}

// TestServicesAreSignedByAWSsTime: whatever keyrot signs, a machine that is a
// day behind gets past AWS's check of the date.
func TestServicesAreSignedByAWSsTime(t *testing.T) {
	t.Parallel()
	type where struct {
		cloud
		sdk aws.Config
	}
	for name, call := range map[string]func(w where){
		"IAM":      func(w where) { _, _ = w.IAM.Keys(t.Context(), "ci") },
		"DynamoDB": func(w where) { _, _ = (&dynamodb.Store{API: dynamodb.NewAPI(w.sdk), Table: "t"}).List(t.Context()) },
		"KMS": func(w where) {
			_, _ = (&kmsseal.Sealer{API: kmsseal.NewAPI(w.sdk), Key: "k"}).Seal(t.Context(), []byte("x"), []byte("y"))
		},
		"S3": func(w where) {
			c := s3.NewFromConfig(w.sdk, func(o *s3.Options) { o.UsePathStyle = true })
			_, _ = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
		},
		"CloudFormation": func(w where) {
			_, _ = cloudformation.NewFromConfig(w.sdk).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("s")})
		},
		"a proof of a key, which is made once": func(w where) {
			w.Clock.Settle(t.Context())
			_ = w.IAM.Verify(t.Context(), rotate.User{Name: "ci", ID: "AIDACI"}, "AKIACI", rotate.NewSecret("s"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _, _ := testEnv(t, nil)
			e.Now = time.Now
			sdk, accepted := strictAWS(t)
			c := e.cloudOf(sdk, config.Config{})
			call(where{c, c.Config})
			if accepted() == 0 {
				t.Error("AWS accepted no signature's date")
			}
		})
	}
}
