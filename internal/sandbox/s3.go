//go:build !nosandbox

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/iamapi/storage"
)

// gate tells versitygw's S3 who a key belongs to. S3 itself checks the
// signature. Every key that IAM holds as Active may use the bucket; all others
// do not exist.
//
// Not versitygw's own client for its IAM: that one needs a socket beside the
// state and writes to stdout.
type gate struct{ store storage.Storer }

var _ auth.IAMService = gate{}

var errReadOnly = errors.New("accounts are managed through IAM")

// GetUserAccount implements auth.IAMService.
func (g gate) GetUserAccount(keyID string) (auth.Account, error) {
	ctx := context.Background() //nolint:contextcheck // the interface has none
	u, err := g.store.GetUserByAccessKeyID(ctx, keyID)
	if err != nil {
		return auth.Account{}, auth.ErrNoSuchUser
	}
	for _, k := range u.AccessKeys {
		if k.AccessKeyId != keyID || k.Status != "Active" {
			continue
		}
		// Best effort, as in versitygw itself.
		_ = g.store.RecordAccessKeyUsage(ctx, keyID, "s3", Region, time.Now())
		return auth.Account{Access: keyID, Secret: k.SecretAccessKey, Role: auth.RoleAdmin}, nil
	}
	return auth.Account{}, auth.ErrNoSuchUser
}

// ResolveAccounts implements auth.IAMService.
func (gate) ResolveAccounts([]string) ([]string, error) { return nil, nil }

// ListUserAccounts implements auth.IAMService.
func (gate) ListUserAccounts() ([]auth.Account, error) { return nil, nil }

// CreateAccount implements auth.IAMService.
func (gate) CreateAccount(auth.Account) error { return errReadOnly }

// UpdateUserAccount implements auth.IAMService.
func (gate) UpdateUserAccount(string, auth.MutableProps) error { return errReadOnly }

// DeleteUserAccount implements auth.IAMService.
func (gate) DeleteUserAccount(string) error { return errReadOnly }

// Shutdown implements auth.IAMService.
func (gate) Shutdown() error { return nil }

// nobody is an access control list that grants nothing: admins need no grant.
func nobody() []byte {
	b, _ := json.Marshal(auth.ACL{}) // strings only: cannot fail
	return b
}
