package sandbox

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config returns the SDK configuration for the sandbox's IAM and STS as root.
// For S3, set the client's BaseEndpoint to S3Endpoint and UsePathStyle.
func (a *AWS) Config(context.Context) (aws.Config, error) {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(a.Endpoint()),
		// A connection that was opened and never used keeps versitygw's
		// shutdown waiting for its whole 10 s; without keep-alive there is none.
		HTTPClient: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return a.RootCredentials, nil
		}),
	}, nil
}
