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
