package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Webhook posts the pair as a JSON object (the fields of a Hook's), signed:
// see internal/webhook for the headers. A 2xx answer that is no page confirms. The same pair
// may be posted again and then carries the same Idempotency-Key.
type Webhook struct {
	Label  string                        // Name; default webhook
	URL    string                        // https, or http to loopback
	Region string                        // as of [Hook]
	Key    func() (rotate.Secret, error) // of the HMAC, at least 32 bytes; asked at every post
	Now    func() time.Time              // AWS's time, which the signature is dated by; nil: time.Now
}

// MinKey is the least length of a webhook's key in bytes.
const MinKey = 32

// Name implements rotate.Publisher.
func (w *Webhook) Name() string { return cmp.Or(w.Label, "webhook") }

// Traits implements rotate.Publisher. What a receiver holds cannot be seen.
func (w *Webhook) Traits() rotate.Traits { return rotate.Traits{Expires: true} }

// Publish implements rotate.Publisher.
func (w *Webhook) Publish(ctx context.Context, c rotate.Credential) error {
	key, err := w.Key()
	if err != nil {
		return fmt.Errorf("the webhook's key: %w", err)
	}
	if len(key.Reveal()) < MinKey {
		return errors.New("the webhook's key is shorter than 32 bytes")
	}
	body, err := messageOf(c, w.Region)
	if err != nil {
		return err
	}
	now := time.Now
	if w.Now != nil {
		now = w.Now
	}
	return webhook.Post(ctx, w.URL, ID(c.User, c.KeyID), body, []byte(key.Reveal()), now())
}
