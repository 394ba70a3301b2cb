package awsiam

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Dated returns the configuration, changed so that every answer that a client
// made from it receives, errors included, tells c the time.
func Dated(cfg aws.Config, c *rotate.Clock) aws.Config {
	cfg = cfg.Copy()
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		if _, ok := stack.Deserialize.Get(datingID); ok {
			return nil // dated twice
		}
		return stack.Deserialize.Add(dating(c), middleware.After) // next to the transport: every attempt counts
	})
	return cfg
}

const datingID = "KeyrotClock"

func dating(c *rotate.Clock) middleware.DeserializeMiddleware {
	return middleware.DeserializeMiddlewareFunc(datingID, func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		dated := c.Begin()
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if r, ok := out.RawResponse.(*smithyhttp.Response); ok && r != nil && r.Response != nil {
			dated(dateOf(r.Header))
		}
		return out, metadata, err
	})
}

// dateOf returns the Date of an answer; zero if there is none, if a cache kept
// the answer, or if it is not AWS's: what stands between answers in HTML or
// JSON, and without AWS's request id.
func dateOf(h http.Header) time.Time {
	date, err := http.ParseTime(h.Get("Date"))
	kind := h.Get("Content-Type")
	own := h.Get("X-Amzn-Requestid") != "" || h.Get("X-Amz-Request-Id") != "" ||
		strings.Contains(kind, "xml") && !strings.Contains(kind, "html")
	if err != nil || h.Get("Age") != "" || !own {
		return time.Time{}
	}
	return date
}

// Asks returns what rotate.Clock.Ask needs: a call of STS that nobody is
// allowed to make and whose refusal is dated. It takes neither credentials nor
// a permission. cfg is from [Dated].
func Asks(cfg aws.Config) func(context.Context) error {
	c := sts.NewFromConfig(awsanswer.Require(cfg), func(o *sts.Options) {
		o.Credentials, o.Retryer = aws.AnonymousCredentials{}, aws.NopRetryer{}
	})
	return func(ctx context.Context) error {
		_, err := c.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		var answer smithy.APIError
		if errors.As(err, &answer) {
			return nil
		}
		return err
	}
}

// signer signs with AWS's time. The SDK corrects a client's clock by the
// answers that this client had, which a fresh one has none of.
type signer struct {
	*v4.Signer
	clock *rotate.Clock
}

// SignHTTP implements sts.HTTPSignerV4.
func (s signer) SignHTTP(
	ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions),
) error {
	if s.clock.Known() {
		at = s.clock.Now()
	}
	return s.Signer.SignHTTP(ctx, c, r, hash, service, region, at, opts...)
}
