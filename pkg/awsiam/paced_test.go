package awsiam_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// A call that AWS throttles is sent once, whichever it is: the SDK's own
// repetitions would not wait for the pace, which could not learn from them. What
// fails for another reason is repeated by the SDK, if that is safe, and counted.
func TestThrottledCallsAreLeftToThePace(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		call      rotate.Call
		code      string
		status    int
		sent      int32
		throttled bool
	}{
		{rotate.CreateAccessKey, "Throttling", 400, 1, true},
		{rotate.UpdateAccessKey, "Throttling", 400, 1, true},
		{rotate.DeleteAccessKey, "Throttling", 400, 1, true},
		{rotate.DeleteAccessKey, "RequestLimitExceeded", 503, 1, true},
		{rotate.CreateAccessKey, "ServiceFailure", 500, 1, false},
		{rotate.UpdateAccessKey, "ServiceFailure", 500, 3, false},
		{rotate.DeleteAccessKey, "ServiceFailure", 500, 3, false},
	} {
		t.Run(fmt.Sprintf("%s of %s", row.code, row.call), func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				sent.Add(1)
				w.Header().Set("X-Amzn-Requestid", "r")
				w.WriteHeader(row.status)
				_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>m</Message></Error></ErrorResponse>`, row.code)
			}))
			defer srv.Close()
			a := awsiam.New(aws.Config{
				Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
			}, &rotate.Clock{Wall: time.Now})
			a.Pace = &pace.Budget{Most: 10}
			var err error
			switch row.call {
			case rotate.CreateAccessKey:
				_, _, err = a.Create(t.Context(), "u")
			case rotate.UpdateAccessKey:
				err = a.SetStatus(t.Context(), "u", "AKIAEXAMPLEEXAMPLE00", plan.Inactive)
			default:
				err = a.Delete(t.Context(), "u", "AKIAEXAMPLEEXAMPLE00")
			}
			if sent.Load() != row.sent || errors.Is(err, rotate.ErrThrottled) != row.throttled {
				t.Errorf("sent %d times, %v; want %d times, throttled %t", sent.Load(), err, row.sent, row.throttled)
			}
			if now := a.Pace.Rate(row.call); (now < 10) != row.throttled {
				t.Errorf("the rate is %v a second, having begun at 10; want it lower: %t", now, row.throttled)
			}
		})
	}
}

// Calls that only look are repeated by the SDK when they are throttled, which
// slows down those that follow.
func TestThrottledLooksSlowDown(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "r")
		w.Header().Set("Content-Type", "text/xml")
		if sent.Add(1) == 1 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>`)
			return
		}
		_, _ = fmt.Fprint(w, `<ListAccessKeysResponse><ListAccessKeysResult></ListAccessKeysResult>`+
			`<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListAccessKeysResponse>`)
	}))
	defer srv.Close()
	a := awsiam.New(aws.Config{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	}, &rotate.Clock{Wall: time.Now})
	slowed := func() bool { return a.Pace.Rate(pace.ListAccessKeys) < 5*pace.DefaultRate }
	if slowed() {
		t.Fatal("the rate is low before anything was throttled")
	}
	if _, err := a.Keys(t.Context(), "u"); err != nil || sent.Load() != 2 {
		t.Errorf("Keys() = %v with %d requests, want success with 2", err, sent.Load())
	}
	if !slowed() {
		t.Errorf("the rate of ListAccessKeys is still %v", a.Pace.Rate(pace.ListAccessKeys))
	}
	if now := a.Pace.Rate(rotate.CreateAccessKey); now != 10 {
		t.Errorf("the rate of CreateAccessKey is %v, want 10: it was not refused", now)
	}
}
