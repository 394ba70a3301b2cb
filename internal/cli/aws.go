package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/keyrot/keyrot/internal/bound"
	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// fallbackRegion is signed for when no region is configured: IAM and STS have
// an endpoint there that works for every account of the aws partition.
const fallbackRegion = "us-east-1"

// loadAWS reads the SDK's settings. It is the only place that does, because every
// attempt of every call must have a bound, those for credentials included. What
// the SDK logs goes to log; nil drops it.
func loadAWS(ctx context.Context, log *slog.Logger) (aws.Config, error) {
	sdk, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(bound.Client()), awsconfig.WithLogger(sdkLog(log)))
	if err != nil {
		advice := ""
		if _, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
			advice = `"aws configure list-profiles" lists the profiles that there are; AWS_PROFILE chooses one`
		}
		return sdk, usage(fmt.Errorf("reading the AWS SDK's settings: %w", err), advice)
	}
	return signedIn(sdk), nil
}

// regional reads the SDK's settings for services that live in a region, which
// must be named.
func regional(ctx context.Context, log *slog.Logger) (aws.Config, error) {
	sdk, err := loadAWS(ctx, log)
	if err != nil {
		return sdk, err
	}
	if sdk.Region == "" {
		return sdk, usage(errors.New("no AWS region is configured"), "set AWS_REGION, or choose a profile with AWS_PROFILE")
	}
	return sdk, nil
}

// connectAWS joins the AWS whose keys are rotated, see Env.Connect.
func (e Env) connectAWS(ctx context.Context, cfg config.Config) (cloud, error) {
	if e.Connect != nil {
		return e.Connect(ctx, cfg)
	}
	sdk, err := loadAWS(ctx, logger(e.Err, cfg.Log))
	if err != nil {
		return cloud{}, err
	}
	if sdk.Region == "" {
		sdk.Region = fallbackRegion
	}
	return e.cloudOf(sdk, cfg), nil
}

// account joins the AWS whose keys are rotated for a command that can do nothing
// without credentials.
func (e Env) account(ctx context.Context, cfg config.Config) (cloud, error) {
	where, err := e.connectAWS(ctx, cfg)
	if err == nil {
		err = identified(ctx, where.Config)
	}
	return where, err
}

// clockOf returns AWS's clock, and sdk, changed so that all clients made from
// it tell that clock the time.
func (e Env) clockOf(sdk aws.Config, cfg config.Config) (*rotate.Clock, aws.Config) {
	c := &rotate.Clock{Wall: e.Now, Log: logger(e.Err, cfg.Log)}
	sdk = awsiam.Dated(sdk, c)
	c.Ask = awsiam.Asks(sdk)
	return c, sdk
}

// clockOnly returns AWS's clock for a command that needs nothing else of AWS.
// If AWS is not to be reached, this machine's clock has to do.
func (e Env) clockOnly(ctx context.Context, cfg config.Config) *rotate.Clock {
	where, err := e.connectAWS(ctx, cfg)
	if err != nil {
		return &rotate.Clock{Wall: e.Now}
	}
	return where.Clock
}

func (e Env) cloudOf(sdk aws.Config, cfg config.Config) cloud {
	clock, sdk := e.clockOf(sdk, cfg)
	iam := awsiam.New(sdk, clock)
	iam.Pace = &pace.Budget{Most: cfg.IAM.Rate, Burst: cfg.IAM.Burst, Log: clock.Log, Now: clock.Now}
	m := &matches{cfg: cfg}
	return cloud{IAM: iam, Pace: iam.Pace, SDK: iam, Config: sdk, Clock: clock, Matches: m, Select: m.watch(iam.Select(awsiam.Selection{
		Names: cfg.Users.Names, PathPrefix: cfg.Users.PathPrefix, Tag: cfg.Users.Tag,
		Exclude: cfg.Users.Exclude, All: cfg.Users.All, Unused: m.unused,
	}))}
}
