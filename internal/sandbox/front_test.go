//go:build !nosandbox

package sandbox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyrot/keyrot/internal/sandbox"
)

// TestEmptyTokens: AWS refuses a session token that is sent and empty, as some
// SDKs do when they are given an empty one.
func TestEmptyTokens(t *testing.T) {
	t.Parallel()
	a := start(t, sandbox.Options{Dir: t.TempDir()})
	bucket := a.S3Endpoint() + "/" + sandbox.Bucket + "?list-type=2"
	for name, c := range map[string]struct {
		url, service   string
		presign, token bool
		want           int
	}{
		"S3":                    {bucket, "s3", false, false, http.StatusOK},
		"S3, empty":             {bucket, "s3", false, true, http.StatusBadRequest},
		"S3, presigned":         {bucket + "&X-Amz-Expires=60", "s3", true, false, http.StatusOK},
		"S3, presigned, empty":  {bucket + "&X-Amz-Expires=60", "s3", true, true, http.StatusBadRequest},
		"STS, empty":            {a.Endpoint() + "/?Action=GetCallerIdentity&Version=2011-06-15", "sts", false, true, http.StatusForbidden},
		"STS, empty in a query": {a.Endpoint() + "/?Action=GetCallerIdentity&Version=2011-06-15", "sts", true, true, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := http.DefaultClient.Do(signed(t, a, c.url, c.service, c.presign, c.token))
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Body.Close(); err != nil || res.StatusCode != c.want {
				t.Errorf("status %d, %v; want %d", res.StatusCode, err, c.want)
			}
		})
	}
}

// signed returns a request of root's, signed in its query or in a header, with
// or without an empty session token beneath the signature.
func signed(t *testing.T, a *sandbox.AWS, url, service string, presign, token bool) *http.Request {
	t.Helper()
	if presign && token {
		url += "&X-Amz-Security-Token="
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	none := sha256.Sum256(nil)
	hash := hex.EncodeToString(none[:])
	if presign {
		if service == "s3" {
			hash = "UNSIGNED-PAYLOAD"
		}
		u, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.RootCredentials, req, hash, service, sandbox.Region, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil); err != nil {
			t.Fatal(err)
		}
		return req
	}
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if token {
		req.Header.Set("X-Amz-Security-Token", "")
	}
	if err := v4.NewSigner().SignHTTP(t.Context(), a.RootCredentials, req, hash, service, sandbox.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	return req
}

// TestEmptyTokenIsToldAsAWSDoes: an SDK reads the error as AWS's.
func TestEmptyTokenIsToldAsAWSDoes(t *testing.T) {
	t.Parallel()
	a := start(t, sandbox.Options{Dir: t.TempDir()})
	cfg, err := a.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	empty := func(s *middleware.Stack) error {
		return s.Build.Add(middleware.BuildMiddlewareFunc("empty token", func(
			ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
		) (middleware.BuildOutput, middleware.Metadata, error) {
			in.Request.(*smithyhttp.Request).Header.Set("X-Amz-Security-Token", "")
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	}
	_, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}, sts.WithAPIOptions(empty))
	if got := code(err); got != "InvalidClientTokenId" {
		t.Errorf("GetCallerIdentity with an empty token = %q", got)
	}
}
