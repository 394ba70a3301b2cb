package metrics

import (
	"context"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// IAM counts the calls of inner.
func (m *Metrics) IAM(inner rotate.IAM) rotate.IAM { return iam{inner, m} }

type iam struct {
	rotate.IAM
	m *Metrics
}

var _ rotate.IAM = iam{}

func (i iam) note(action string, err error) {
	i.m.iam.WithLabelValues(action, result(err)).Inc()
}

// User implements [rotate.IAM].
func (i iam) User(ctx context.Context, name string) (rotate.User, error) {
	u, err := i.IAM.User(ctx, name)
	i.note("GetUser", err)
	return u, err
}

// Keys implements [rotate.IAM].
func (i iam) Keys(ctx context.Context, user string) ([]plan.Key, error) {
	keys, err := i.IAM.Keys(ctx, user)
	i.note("ListAccessKeys", err)
	return keys, err
}

// LastUsed implements [rotate.IAM].
func (i iam) LastUsed(ctx context.Context, keyID string) (time.Time, error) {
	t, err := i.IAM.LastUsed(ctx, keyID)
	i.note("GetAccessKeyLastUsed", err)
	return t, err
}

// Create implements [rotate.IAM].
func (i iam) Create(ctx context.Context, user string) (plan.Key, rotate.Secret, error) {
	k, s, err := i.IAM.Create(ctx, user)
	i.note("CreateAccessKey", err)
	return k, s, err
}

// SetStatus implements [rotate.IAM].
func (i iam) SetStatus(ctx context.Context, user, keyID string, s plan.Status) error {
	err := i.IAM.SetStatus(ctx, user, keyID, s)
	i.note("UpdateAccessKey", err)
	return err
}

// Delete implements [rotate.IAM].
func (i iam) Delete(ctx context.Context, user, keyID string) error {
	err := i.IAM.Delete(ctx, user, keyID)
	i.note("DeleteAccessKey", err)
	return err
}

// Verify implements [rotate.IAM].
func (i iam) Verify(ctx context.Context, u rotate.User, keyID string, s rotate.Secret) error {
	began := time.Now()
	err := i.IAM.Verify(ctx, u, keyID, s)
	i.m.verify.Observe(time.Since(began).Seconds())
	i.note("GetCallerIdentity", err)
	return err
}
