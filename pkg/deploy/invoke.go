package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyrot/keyrot/internal/awsanswer"
)

// ErrInvocation: the function answered that it failed.
var ErrInvocation = errors.New("the function failed")

// Bounds of one invocation.
const (
	invokeTimeout = 2 * time.Minute // the rotator's own limit is 90 s
	maxAnswer     = 6 << 20         // bytes; Lambda's limit
)

// A redirect would carry the signed request elsewhere.
var invoker = &http.Client{
	Timeout: invokeTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Invoke calls a function and returns its answer. The request is signed here
// and sent by net/http: the SDK's Lambda module would cost every command
// 0.7 MB of tables at its start, for this one call. There is no retry: the
// caller cannot know whether a pass was begun. now is AWS's time, which the
// request is signed with.
func Invoke(ctx context.Context, cfg aws.Config, address string, payload []byte, now time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, invokeTimeout)
	defer cancel()
	if cfg.BaseEndpoint != nil { // AWS_ENDPOINT_URL
		u, err := url.Parse(address)
		if err != nil {
			return nil, doing(err, "invoking the rotator")
		}
		if address, err = url.JoinPath(*cfg.BaseEndpoint, u.EscapedPath()); err != nil {
			return nil, doing(err, "invoking the rotator")
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(payload))
	if err != nil {
		return nil, doing(err, "invoking the rotator")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "keyrot")
	if cfg.Credentials == nil {
		return nil, errors.New("invoking the rotator: no AWS credentials are configured")
	}
	who, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, doing(err, "invoking the rotator")
	}
	sum := sha256.Sum256(payload)
	if err := v4.NewSigner().SignHTTP(ctx, who, req, hex.EncodeToString(sum[:]), "lambda", cfg.Region, now); err != nil {
		return nil, doing(err, "signing the invocation")
	}
	res, err := invoker.Do(req)
	if err != nil {
		return nil, doing(err, "invoking the rotator")
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, doing(err, "reading the rotator's answer")
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("invoking the rotator: Lambda answers %s: %.300s", res.Status, body)
	case res.Header.Get("X-Amz-Function-Error") != "":
		return nil, fmt.Errorf("%w: %.300s", ErrInvocation, body)
	}
	return body, doing(awsanswer.Check("Invoke", req.Header, res.Header, body), "invoking the rotator")
}
