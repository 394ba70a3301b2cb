package sandbox

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config returns the SDK configuration for the sandbox's IAM and STS as root.
// For S3, set the client's BaseEndpoint to S3Endpoint and UsePathStyle.
func (a *AWS) Config(context.Context) (aws.Config, error) {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(a.Endpoint()),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return a.RootCredentials, nil
		}),
	}, nil
}
