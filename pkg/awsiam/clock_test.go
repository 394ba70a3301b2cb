package awsiam_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestServerTimeIsAWSsClock(t *testing.T) {
	t.Parallel()
	const ahead = 90 * time.Minute
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write([]byte(`<ListAccessKeysResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ListAccessKeysResult><IsTruncated>false</IsTruncated><AccessKeyMetadata/></ListAccessKeysResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListAccessKeysResponse>`))
	}))
	defer srv.Close()
	clock := &rotate.Clock{}
	a := awsiam.New(aws.Config{
		Region: "us-east-1", BaseEndpoint: &srv.URL,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
	}, clock)
	if clock.Known() {
		t.Error("the time is known before the first answer")
	}
	if _, err := a.Keys(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	if off := (time.Until(clock.Now()) - ahead).Abs(); !clock.Known() || off > time.Minute {
		t.Errorf("the clock is %s ahead, known: %v, want about %s", time.Until(clock.Now()), clock.Known(), ahead)
	}
}

// TestWhoMayTellTheTime: errors of AWS do, what stands between does not.
func TestWhoMayTellTheTime(t *testing.T) {
	t.Parallel()
	const ahead = 90 * time.Minute
	tests := []struct {
		name   string
		status int
		header map[string]string
		body   string
		told   bool
	}{
		{"a refusal of AWS", 403, map[string]string{"Content-Type": "text/xml"}, `<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`, true},
		{"a refusal with a request id", 403, map[string]string{"X-Amzn-Requestid": "r", "Content-Type": "text/plain"}, "no", true},
		{"a page of a proxy", 403, map[string]string{"Content-Type": "text/html"}, "<html>blocked</html>", false},
		{"a gateway's refusal", 403, map[string]string{"Content-Type": "application/json"}, `{"message":"Forbidden"}`, false},
		{"a page of a proxy that is XML", 502, map[string]string{"Content-Type": "application/xhtml+xml"}, "<html/>", false},
		{"a refusal in JSON", 400, map[string]string{"X-Amzn-Requestid": "r", "Content-Type": "application/x-amz-json-1.0"}, `{"__type":"x"}`, true},
		{"a page of a proxy that says OK", 200, map[string]string{"Content-Type": "text/html"}, "<html>welcome</html>", false},
		{"an answer that a cache kept", 403, map[string]string{"Content-Type": "text/xml", "Age": "5400"}, `<ErrorResponse/>`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				for k, v := range tt.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer srv.Close()
			clock := &rotate.Clock{}
			cfg := awsiam.Dated(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL}, clock)
			_ = awsiam.Asks(cfg)(t.Context())
			if clock.Known() != tt.told {
				t.Errorf("the time is known: %v, want %v", clock.Known(), tt.told)
			}
		})
	}
}
