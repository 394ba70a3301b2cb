package dynamodb

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// A write that DynamoDB did not say to have made was not made, and what it did
// not say to be missing is not missing.
func TestAnswersOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"a page": "<html><body>Please sign in</body></html>", "nothing": "", "an empty object": "{}"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Requestid", "r") // as if it were
			_, _ = w.Write([]byte(body))
		}))
		api := NewAPI(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
		s, ctx := &Store{API: api, Table: "keyrot", Sealer: sealer(t)}, t.Context()
		_, saveErr := s.Save(ctx, rotate.Entry{Record: plan.Record{User: "ann"}})
		_, loadErr := s.Load(ctx, "ann")
		_, acquireErr := s.Acquire(ctx, "ann", "me", now, 1)
		_, listErr := s.List(ctx)
		_, settingErr := s.SaveSetting(ctx, "x", nil, 7)
		for call, err := range map[string]error{
			"Save": saveErr, "Load": loadErr, "List": listErr, "SaveSetting": settingErr, "Acquire": acquireErr,
			"Release": s.Release(ctx, "ann", "me"), "RecordHandout": s.RecordHandout(ctx, "c", "ann", "k", "", now),
			"Append": (&Audit{API: api, Table: "keyrot", Sealer: sealer(t)}).Append(ctx, rotate.Event{Action: "a"}),
		} {
			if !errors.Is(err, awsanswer.ErrForeign) {
				t.Errorf("%s, answered with %s = %v, want %v", call, name, err, awsanswer.ErrForeign)
			}
		}
		srv.Close()
	}
}
