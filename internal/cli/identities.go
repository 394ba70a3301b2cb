package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/auth/callerid"
	"github.com/keyrot/keyrot/pkg/client/awsidentity"
)

// identities joins what recognises callers without an API key, if there are any.
func (s *system) identities(ctx context.Context, cfg config.Server, sdk aws.Config, now func() time.Time) error {
	v, err := verifier(ctx, cfg, sdk, now)
	if v != nil && err == nil {
		s.server.Identities, s.server.Tokens.External = v, v.External
	}
	return err
}

// verifier returns what recognises callers without an API key, or nil.
func verifier(ctx context.Context, cfg config.Server, sdk aws.Config, now func() time.Time) (*callerid.Verifier, error) {
	if len(cfg.Identities) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	v := &callerid.Verifier{ServerID: cfg.ID, STS: map[string]string{}, Now: now}
	asksSTS := false
	for _, i := range cfg.Identities {
		id := callerid.Identity{Name: i.Name, Users: i.Users, Role: auth.Role(cmp.Or(i.Role, string(auth.Reader)))}
		if i.Kind == "aws" {
			asksSTS = true
			id.AWS = &callerid.AWS{ARNs: i.ARNs}
		} else {
			id.OIDC = &callerid.OIDC{
				Issuer: i.Issuer, Audience: i.Audience, Subjects: i.Subjects, Claims: i.Claims, JWKSFile: i.JWKSFile, JWKSURL: i.JWKSURL,
			}
		}
		v.Identities = append(v.Identities, id)
	}
	regions := cfg.STSRegions
	if len(regions) == 0 {
		regions = []string{sdk.Region}
	}
	for _, region := range regions {
		if !asksSTS {
			break
		}
		endpoint, err := stsEndpoint(ctx, sdk, region)
		if err != nil {
			return nil, fmt.Errorf("server.sts_regions: %w", err)
		}
		v.STS[region] = endpoint
	}
	return v, nil
}

// stsEndpoint is where STS is, for servers that ask and for clients that sign:
// both follow the SDK's settings.
func stsEndpoint(ctx context.Context, sdk aws.Config, region string) (string, error) {
	sdk = sdk.Copy()
	sdk.Region = region
	return awscall.Service{Config: sdk, ID: "STS", Host: "sts"}.Endpoint(ctx)
}

// signingVariable holds the process that signs, while the SDK looks for credentials
// to sign with. It may start a program that gets them (credential_process),
// and that may be keyrot again, without end.
const signingVariable = "KEYROT_SIGNING"

// awsSigner signs for the server with the credentials that the SDK finds.
func awsSigner(ctx context.Context, c config.Client) (s awsidentity.Signer, err error) {
	us := strconv.Itoa(os.Getpid())
	if by := os.Getenv(signingVariable); by != "" && by != us {
		return s, usage(errors.New("the AWS credentials to sign with are asked of keyrot itself"),
			"choose another profile with AWS_PROFILE, or none")
	}
	if err := os.Setenv(signingVariable, us); err != nil {
		return s, fmt.Errorf("marking the environment: %w", err)
	}
	sdk, err := regional(ctx, nil)
	if err != nil {
		return s, err
	}
	s = awsidentity.Signer{Credentials: sdk.Credentials, Region: sdk.Region, ServerID: c.SignFor}
	if s.ServerID == "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil {
			return s, err
		}
		s.ServerID = u.Hostname()
	}
	s.Endpoint, err = stsEndpoint(ctx, sdk, sdk.Region)
	return s, err
}

// awsIdentity is who asks by the SDK's credentials. The cache is sealed with
// their secret.
func awsIdentity(ctx context.Context, c config.Client) (getkey.Identity, error) {
	s, err := awsSigner(ctx, c)
	if err != nil {
		return getkey.Identity{}, err
	}
	creds, err := s.Credentials.Retrieve(ctx)
	if err != nil {
		return getkey.Identity{}, err
	}
	if creds.SecretAccessKey == "" {
		return getkey.Identity{}, usage(errors.New("there are no AWS credentials to sign with"), "")
	}
	return getkey.Identity{Name: getkey.ByAWS, Secret: creds.SecretAccessKey, Proof: s.Proof}, nil
}
