package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/awsiam"
)

// fallbackRegion is signed for when no region is configured: IAM and STS have
// an endpoint there that works for every account of the aws partition.
const fallbackRegion = "us-east-1"

// regional reads the SDK's settings for services that live in a region, which
// must be named.
func regional(ctx context.Context) (aws.Config, error) {
	sdk, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return sdk, usage(fmt.Errorf("reading the AWS SDK's settings: %w", err), "")
	}
	if sdk.Region == "" {
		return sdk, usage(errors.New("no AWS region is configured"), "set AWS_REGION, or choose a profile with AWS_PROFILE")
	}
	return sdk, nil
}

// connectAWS joins the AWS that the SDK's own settings name.
func connectAWS(ctx context.Context, cfg config.Config) (cloud, error) {
	sdk, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return cloud{}, usage(fmt.Errorf("reading the AWS SDK's settings: %w", err), "")
	}
	if sdk.Region == "" {
		sdk.Region = fallbackRegion
	}
	return cloudOf(sdk, cfg), nil
}

func cloudOf(sdk aws.Config, cfg config.Config) cloud {
	iam := awsiam.New(sdk)
	iam.Pace = &awsiam.Pace{PerSecond: cfg.IAM.Rate, Burst: cfg.IAM.Burst}
	m := &matches{cfg: cfg}
	return cloud{IAM: iam, SDK: iam, Config: sdk, Matches: m, Select: m.watch(iam.Select(awsiam.Selection{
		Names: cfg.Users.Names, PathPrefix: cfg.Users.PathPrefix, Tag: cfg.Users.Tag,
		Exclude: cfg.Users.Exclude, All: cfg.Users.All, Unused: m.unused,
	}))}
}
