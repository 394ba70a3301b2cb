// Package awscreds lets a program that uses the AWS SDK for Go take its
// credentials from a keyrot server:
//
//	cfg.Credentials = awscreds.New(&client.Client{Endpoint: e, APIKey: k}, "ci")
//
// It is apart from package client so that that one needs no SDK.
package awscreds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/pkg/client"
)

// Provider is an [aws.CredentialsProvider]. It asks again ahead of the
// Expiration; if that fails, what it has is good until then. Safe for
// concurrent use.
type Provider struct {
	Client *client.Client
	User   string
	Now    func() time.Time // default: Client.Time

	mu   sync.Mutex
	cred api.Credential
	tag  string
	next time.Time
}

var _ aws.CredentialsProvider = (*Provider)(nil)

// New returns a provider for the user. The SDK wraps it in a cache of its own,
// which asks it once per second at most when a credential is about to change.
func New(c *client.Client, user string) aws.CredentialsProvider {
	return aws.NewCredentialsCache(&Provider{Client: c, User: user})
}

// Retrieve implements [aws.CredentialsProvider]. Expires is not the
// Expiration but when Retrieve wants to be asked again.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // held during the request: one serves all who wait
	now := p.now()
	if works := p.cred.Expiration.After(now.Add(time.Second)); !works || !now.Before(p.next) {
		tag := p.tag
		if !works {
			tag = ""
		}
		cred, newTag, err := p.Client.CredentialIfChanged(ctx, p.User, tag)
		now = p.now()
		switch {
		case err == nil:
			p.cred, p.tag = cred, newTag
		case errors.Is(err, client.ErrNotModified):
		case api.Withdrawn(err):
			p.cred = api.Credential{}
			return aws.Credentials{}, fmt.Errorf("keyrot: %w", err)
		case !p.cred.Expiration.After(now.Add(time.Second)):
			return aws.Credentials{}, fmt.Errorf("keyrot: %w", err)
		}
		p.next = api.RefreshAt(p.cred, now)
	}
	expires := p.next
	if p.cred.Expiration.Before(expires) {
		expires = p.cred.Expiration
	}
	return aws.Credentials{
		AccessKeyID: p.cred.AccessKeyID, SecretAccessKey: p.cred.SecretAccessKey,
		Source: "keyrot", CanExpire: true, Expires: expires.Add(-p.Client.Ahead()), // which the SDK holds against this machine's clock
	}, nil
}

func (p *Provider) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return p.Client.Time()
}
