package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/pkg/rotate"
)

const defaultVerifyTimeout = 5 * time.Second

// Verify implements rotate.IAM. It makes one attempt: repeating is up to the
// caller, who counts successes. Calls share connections.
func (a *IAM) Verify(ctx context.Context, u rotate.User, keyID string, s rotate.Secret) error {
	doing := fmt.Sprintf("verifying an access key of %q", u.Name)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.VerifyTimeout, defaultVerifyTimeout))
	defer cancel()
	out, err := a.API.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
		o.Retryer = aws.NopRetryer{}
		o.Credentials = pair{keyID, s}
	})
	if err != nil {
		sentinel := codes[code(err)]
		if misdated(err) {
			sentinel = nil
		}
		if errors.Is(sentinel, rotate.ErrDenied) || errors.Is(sentinel, rotate.ErrLimit) {
			sentinel = nil // says nothing about the key
		}
		return wrap(doing, sentinel, err)
	}
	// For an IAM user, UserId is the user's unique id (AIDA…).
	if got := aws.ToString(out.UserId); got != u.ID || u.ID == "" {
		return fmt.Errorf("%s: it belongs to %s (%s), not to %s (%s)", doing, aws.ToString(out.Arn), got, u.ARN, u.ID)
	}
	return nil
}

// misdated reports whether AWS refused a request for when it was signed, with
// the code of a wrong secret: that says something about a clock and nothing
// about the key.
func misdated(err error) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.Contains(e.ErrorMessage(), "Signature expired") || strings.Contains(e.ErrorMessage(), "Signature not yet current"))
}

// pair provides the credentials under test.
type pair struct {
	keyID  string
	secret rotate.Secret
}

// Retrieve implements aws.CredentialsProvider.
func (p pair) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: p.keyID, SecretAccessKey: p.secret.Reveal(), Source: "keyrot"}, nil
}
