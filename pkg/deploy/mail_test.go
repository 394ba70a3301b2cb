package deploy_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sesv2/types"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// fakeSES verifies an address at the look that verifyAt counts.
func fakeSES(known map[string]bool, verifyAt int) *deploy.Deployer {
	looks, created := 0, 0
	return &deploy.Deployer{Poll: time.Millisecond, Mail: deploy.MailAPI{
		GetAccount: func(context.Context, *sesv2.GetAccountInput, ...func(*sesv2.Options)) (*sesv2.GetAccountOutput, error) {
			return &sesv2.GetAccountOutput{SendQuota: &types.SendQuota{Max24HourSend: 200, MaxSendRate: 1, SentLast24Hours: 7}}, nil
		},
		GetEmailIdentity: func(_ context.Context, in *sesv2.GetEmailIdentityInput, _ ...func(*sesv2.Options)) (*sesv2.GetEmailIdentityOutput, error) {
			if !known[*in.EmailIdentity] {
				return nil, apiError("NotFoundException", "no")
			}
			looks++
			return &sesv2.GetEmailIdentityOutput{VerifiedForSendingStatus: verifyAt > 0 && looks >= verifyAt, VerificationStatus: types.VerificationStatusPending}, nil
		},
		CreateEmailIdentity: func(_ context.Context, in *sesv2.CreateEmailIdentityInput, _ ...func(*sesv2.Options)) (*sesv2.CreateEmailIdentityOutput, error) {
			if created++; created > 1 {
				return nil, errors.New("asked twice")
			}
			known[*in.EmailIdentity] = true
			return &sesv2.CreateEmailIdentityOutput{}, nil
		},
	}}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	d := fakeSES(map[string]bool{}, 4)
	if a, err := d.Verify(t.Context(), "a@b"); err != nil || !a.Asked || a.Verified {
		t.Errorf("Verify = %+v, %v, want the owner asked", a, err)
	}
	if a, err := d.Verify(t.Context(), "a@b"); err != nil || a.Asked {
		t.Errorf("Verify again = %+v, %v, want nothing asked", a, err)
	}
	if a, err := d.Await(t.Context(), "a@b", time.Minute); err != nil || !a.Verified {
		t.Errorf("Await = %+v, %v", a, err)
	}
	if _, err := fakeSES(map[string]bool{"a@b": true}, 0).Await(t.Context(), "a@b", time.Millisecond); !errors.Is(err, deploy.ErrUnverified) {
		t.Errorf("Await without an answer = %v, want %v", err, deploy.ErrUnverified)
	}
	if m, err := d.MailAccount(t.Context()); err != nil || !m.Sandbox || !strings.Contains(m.String(), "7 of 200") {
		t.Errorf("MailAccount = %s, %v", m, err)
	}
}

func TestInvoke(t *testing.T) {
	t.Parallel()
	answer := func(status int, failed bool, body string) ([]byte, error) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/2015-03-31/functions/f/invocations" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/lambda/aws4_request") {
				t.Errorf("request %s, %s", r.URL, r.Header.Get("Authorization"))
			}
			if status == http.StatusOK {
				w.Header().Set("X-Amzn-Requestid", "r")
			}
			if failed {
				w.Header().Set("X-Amz-Function-Error", "Unhandled")
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		defer srv.Close()
		cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
		return deploy.Invoke(t.Context(), cfg, "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/f/invocations", []byte("{}"), time.Now())
	}
	if body, err := answer(200, false, `{"x":1}`); err != nil || string(body) != `{"x":1}` {
		t.Errorf("Invoke = %s, %v", body, err)
	}
	if _, err := answer(200, true, `{"errorMessage":"boom"}`); !errors.Is(err, deploy.ErrInvocation) || !strings.Contains(err.Error(), "boom") {
		t.Errorf("Invoke of a function that fails = %v", err)
	}
	if _, err := answer(403, false, `{"Message":"not authorized"}`); err == nil || !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("Invoke without permission = %v", err)
	}
}
