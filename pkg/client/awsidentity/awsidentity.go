// Package awsidentity proves to a keyrot server which IAM role or user asks, in
// place of an API key:
//
//	s := awsidentity.Signer{Credentials: cfg.Credentials, Region: cfg.Region, ServerID: "keyrot.example"}
//	c := &client.Client{Endpoint: e, Proof: s.Proof}
//
// The proof is a presigned sts:GetCallerIdentity, which needs no permission. It
// holds no secret, is good for a minute, and for the named server only.
package awsidentity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyrot/keyrot/pkg/api"
)

// life is how long a proof is good, in seconds: until the server has it.
const life = "60"

// Signer makes proofs.
type Signer struct {
	Credentials aws.CredentialsProvider // whose identity it is
	Region      string                  // one that the server takes (server.sts_regions)
	ServerID    string                  // the server's server.id
	// Endpoint is that of STS in the region, as the server has it. Default
	// https://sts.REGION.amazonaws.com.
	Endpoint string
}

// Proof is a client.Proof.
func (s Signer) Proof(ctx context.Context, now time.Time) (header, value string, err error) {
	if s.Credentials == nil || s.Region == "" || s.ServerID == "" {
		return "", "", errors.New("signing needs AWS credentials, a region and the server's id")
	}
	c, err := s.Credentials.Retrieve(ctx)
	if err != nil {
		return "", "", fmt.Errorf("getting AWS credentials: %w", err)
	}
	endpoint := cmp.Or(s.Endpoint, "https://sts."+s.Region+".amazonaws.com")
	query := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {life}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(endpoint, "/")+"/?"+query.Encode(), nil)
	if err != nil {
		return "", "", fmt.Errorf("endpoint of STS: %w", err)
	}
	req.Header.Set(api.HeaderServerID, s.ServerID)
	nothing := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, c, req, hex.EncodeToString(nothing[:]), "sts", s.Region, now)
	if err != nil {
		return "", "", fmt.Errorf("signing: %w", err)
	}
	_, value, _ = strings.Cut(signed, "?")
	return api.HeaderAWSIdentity, value, nil
}
