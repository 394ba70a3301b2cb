package difftest

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyrot/keyrot/pkg/awsiam"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// sdkTarget is an AWS behind the SDK.
func sdkTarget(cfg aws.Config, differs map[string]difference) target {
	client := iam.NewFromConfig(cfg)
	a := awsiam.New(cfg, &rotate.Clock{})
	a.Pace = nil
	a.PageSize = 1
	return target{
		iam:     a,
		differs: differs,
		addUser: func(ctx context.Context, name, path string, tags map[string]string) error {
			in := &iam.CreateUserInput{UserName: &name, Path: &path}
			for k, v := range tags {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
			}
			_, err := client.CreateUser(ctx, in)
			return err
		},
		deleteUser: func(ctx context.Context, name string) error {
			_, err := client.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name})
			return err
		},
	}
}
