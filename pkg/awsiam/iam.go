// Package awsiam reaches IAM and STS through the AWS SDK. It implements
// rotate.IAM and finds the users to manage. It owns pagination, the pace of
// changes, and the translation of AWS's errors to package rotate's sentinels.
//
// It must not know what is rotated when, nor how anything is stored.
package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyrot/keyrot/internal/awsanswer"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// operation is a method of an SDK's client.
type operation[In, Out, Options any] = func(context.Context, *In, ...func(*Options)) (*Out, error)

// API is the part of the SDK's clients that this package calls. It is a struct
// of funcs because a client stored in an interface keeps all its hundreds of
// methods in the binary.
type API struct {
	GetUser                        operation[iam.GetUserInput, iam.GetUserOutput, iam.Options]
	ListUsers                      operation[iam.ListUsersInput, iam.ListUsersOutput, iam.Options]
	ListUserTags                   operation[iam.ListUserTagsInput, iam.ListUserTagsOutput, iam.Options]
	GetAccountAuthorizationDetails operation[iam.GetAccountAuthorizationDetailsInput, iam.GetAccountAuthorizationDetailsOutput, iam.Options]
	ListAccessKeys                 operation[iam.ListAccessKeysInput, iam.ListAccessKeysOutput, iam.Options]
	GetAccessKeyLastUsed           operation[iam.GetAccessKeyLastUsedInput, iam.GetAccessKeyLastUsedOutput, iam.Options]
	CreateAccessKey                operation[iam.CreateAccessKeyInput, iam.CreateAccessKeyOutput, iam.Options]
	UpdateAccessKey                operation[iam.UpdateAccessKeyInput, iam.UpdateAccessKeyOutput, iam.Options]
	DeleteAccessKey                operation[iam.DeleteAccessKeyInput, iam.DeleteAccessKeyOutput, iam.Options]
	// SimulatePrincipalPolicy is nil where it is not available.
	SimulatePrincipalPolicy operation[iam.SimulatePrincipalPolicyInput, iam.SimulatePrincipalPolicyOutput, iam.Options]
	GetCallerIdentity       operation[sts.GetCallerIdentityInput, sts.GetCallerIdentityOutput, sts.Options]
}

// IAM is rotate.IAM over the SDK. It is safe for concurrent use.
type IAM struct {
	API API
	// Pace learns from all calls. Who changes something waits for it before; what
	// only looks waits by itself. All that work on one account should share one.
	// nil: no limit.
	Pace *pace.Budget
	// VerifyTimeout bounds one Verify. Zero: 5 s.
	VerifyTimeout time.Duration
	// PageSize is how many items to ask for per page. Zero: 1,000, the most that
	// IAM gives; its own default is 100.
	PageSize int32
}

var _ rotate.IAM = (*IAM)(nil)

// New returns an IAM that uses the SDK configuration as it is, at the default
// pace. Its answers tell clock the time, and keys are proven by that time.
// Requests carry "keyrot" in the User-Agent.
func New(cfg aws.Config, clock *rotate.Clock) *IAM {
	cfg = awsanswer.Require(Dated(cfg, clock))
	cfg.APIOptions = append(cfg.APIOptions, middleware.AddUserAgentKey("keyrot"))
	cfg.Credentials = identity(cfg.Credentials)
	i, s := iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	return &IAM{
		API: API{
			GetUser:                        i.GetUser,
			ListUsers:                      i.ListUsers,
			ListUserTags:                   i.ListUserTags,
			GetAccountAuthorizationDetails: i.GetAccountAuthorizationDetails,
			ListAccessKeys:                 i.ListAccessKeys,
			GetAccessKeyLastUsed:           i.GetAccessKeyLastUsed,
			CreateAccessKey:                i.CreateAccessKey,
			UpdateAccessKey:                i.UpdateAccessKey,
			DeleteAccessKey:                i.DeleteAccessKey,
			SimulatePrincipalPolicy:        i.SimulatePrincipalPolicy,
			GetCallerIdentity:              freshSigner(s, clock),
		},
		Pace: &pace.Budget{},
	}
}

// identity marks the errors of credentials that cannot be had as
// rotate.ErrNoIdentity: a call that could not be signed was not sent.
func identity(from aws.CredentialsProvider) aws.CredentialsProvider {
	if from == nil {
		return nil
	}
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := from.Retrieve(ctx) // which caches
		if err != nil && !errors.Is(err, rotate.ErrNoIdentity) {
			err = fmt.Errorf("%w: %w", rotate.ErrNoIdentity, err)
		}
		return c, err
	})
}

// freshSigner returns GetCallerIdentity with a signer of its own for every
// call. A client's signer caches the derived signing key by access key id
// without looking at the secret: a wrong secret would pass once the right one
// has been seen. The connections are shared.
func freshSigner(
	c *sts.Client, clock *rotate.Clock,
) operation[sts.GetCallerIdentityInput, sts.GetCallerIdentityOutput, sts.Options] {
	return func(ctx context.Context, in *sts.GetCallerIdentityInput, opts ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
		o := c.Options()
		o.HTTPSignerV4, o.AuthSchemes = signer{v4.NewSigner(), clock}, nil
		return sts.New(o, opts...).GetCallerIdentity(ctx, in)
	}
}

// User implements rotate.IAM.
func (a *IAM) User(ctx context.Context, name string) (rotate.User, error) {
	out, err := read(ctx, a, pace.GetUser, a.API.GetUser, &iam.GetUserInput{UserName: &name})
	if err != nil {
		return rotate.User{}, translate(fmt.Sprintf("looking up user %q", name), err, rotate.ErrNoUser)
	}
	if out.User == nil {
		return rotate.User{}, fmt.Errorf("looking up user %q: IAM answered without a user", name)
	}
	u := user(*out.User)
	u.Tags = tags(out.User.Tags)
	return u, nil
}

// Keys implements rotate.IAM.
func (a *IAM) Keys(ctx context.Context, name string) ([]plan.Key, error) {
	doing := fmt.Sprintf("listing access keys of %q", name)
	var all []plan.Key
	err := pages(doing, func(marker *string) (*string, error) {
		in := iam.ListAccessKeysInput{UserName: &name, Marker: marker, MaxItems: a.pageSize()}
		out, err := read(ctx, a, pace.ListAccessKeys, a.API.ListAccessKeys, &in)
		if err != nil {
			return nil, translate(doing, err, rotate.ErrNoUser)
		}
		for _, k := range out.AccessKeyMetadata {
			all = append(all, plan.Key{ID: aws.ToString(k.AccessKeyId), Status: plan.Status(k.Status), Created: aws.ToTime(k.CreateDate)})
		}
		return next(out.IsTruncated, out.Marker), nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// LastUsed implements rotate.IAM. ErrNoKey if IAM does not know the key.
func (a *IAM) LastUsed(ctx context.Context, keyID string) (time.Time, error) {
	in := iam.GetAccessKeyLastUsedInput{AccessKeyId: &keyID}
	out, err := read(ctx, a, pace.GetAccessKeyLastUsed, a.API.GetAccessKeyLastUsed, &in)
	if err != nil {
		return time.Time{}, translate("asking when an access key was last used", err, rotate.ErrNoKey)
	}
	if out.AccessKeyLastUsed == nil {
		return time.Time{}, nil
	}
	return aws.ToTime(out.AccessKeyLastUsed.LastUsedDate), nil
}

// Create implements rotate.IAM.
func (a *IAM) Create(ctx context.Context, name string) (plan.Key, rotate.Secret, error) {
	doing := fmt.Sprintf("creating an access key for %q", name)
	var out *iam.CreateAccessKeyOutput
	err := a.change(doing, rotate.CreateAccessKey, rotate.ErrNoUser, func() (err error) {
		// No retry here: if the reply was lost, a second call makes a second
		// key and fills both of the user's slots.
		out, err = a.API.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name}, func(o *iam.Options) {
			o.Retryer = aws.NopRetryer{}
		})
		return err
	})
	if err != nil {
		return plan.Key{}, rotate.Secret{}, err
	}
	k := out.AccessKey
	if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
		return plan.Key{}, rotate.Secret{}, fmt.Errorf("%s: IAM answered without a key", doing)
	}
	return plan.Key{ID: *k.AccessKeyId, Status: plan.Status(k.Status), Created: aws.ToTime(k.CreateDate)},
		rotate.NewSecret(*k.SecretAccessKey), nil
}

// SetStatus implements rotate.IAM.
func (a *IAM) SetStatus(ctx context.Context, name, keyID string, s plan.Status) error {
	doing := fmt.Sprintf("setting an access key of %q to %s", name, s)
	return a.change(doing, rotate.UpdateAccessKey, rotate.ErrNoKey, func() error {
		_, err := a.API.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{
			UserName: &name, AccessKeyId: &keyID, Status: types.StatusType(s),
		}, a.paced(rotate.UpdateAccessKey))
		return err
	})
}

// Delete implements rotate.IAM.
func (a *IAM) Delete(ctx context.Context, name, keyID string) error {
	doing := fmt.Sprintf("deleting an access key of %q", name)
	return a.change(doing, rotate.DeleteAccessKey, nil, func() error {
		_, err := a.API.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &keyID}, a.paced(rotate.DeleteAccessKey))
		return err
	})
}

const largestPage = 1000

func (a *IAM) pageSize() *int32 {
	size := cmp.Or(a.PageSize, largestPage)
	return &size
}

// pages calls fetch with the marker of each page until there is no next one.
func pages(doing string, fetch func(marker *string) (next *string, err error)) error {
	var marker *string
	for {
		n, err := fetch(marker)
		if err != nil {
			return err
		}
		if n == nil {
			return nil
		}
		if marker != nil && *n == *marker {
			return fmt.Errorf("%s: IAM repeats the page at %q", doing, *n)
		}
		marker = n
	}
}

func next(truncated bool, marker *string) *string {
	if !truncated || aws.ToString(marker) == "" {
		return nil
	}
	return marker
}

func user(u types.User) rotate.User {
	return rotate.User{Name: aws.ToString(u.UserName), ID: aws.ToString(u.UserId), ARN: aws.ToString(u.Arn), Path: aws.ToString(u.Path)}
}

func tags(list []types.Tag) map[string]string {
	m := make(map[string]string, len(list))
	for _, t := range list {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}
