package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sesv2/types"
)

// ErrUnverified: SES has not heard from the owner of the address.
var ErrUnverified = errors.New("not verified yet")

// Address is what SES says of an e-mail address.
type Address struct {
	Email    string `json:"email"`
	Verified bool   `json:"verified"`
	Asked    bool   `json:"asked"` // a mail with a link was sent just now
	Status   string `json:"status"`
}

// Verify makes sure that SES has asked the owner of the address whether keyrot
// may use it. An address that is known already is left as it is.
func (d *Deployer) Verify(ctx context.Context, email string) (Address, error) {
	a, err := d.address(ctx, email)
	if code(err) != "NotFoundException" {
		return a, doing(err, "asking SES about %s", email)
	}
	_, err = d.Mail.CreateEmailIdentity(ctx, &sesv2.CreateEmailIdentityInput{EmailIdentity: &email})
	if err != nil && code(err) != "AlreadyExistsException" {
		return Address{}, doing(err, "asking SES to verify %s", email)
	}
	a, err = d.address(ctx, email)
	a.Asked = true
	return a, doing(err, "asking SES about %s", email)
}

// Await waits until SES has verified the address, at most for patience.
// ErrUnverified after that.
func (d *Deployer) Await(ctx context.Context, email string, patience time.Duration) (Address, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := d.address(ctx, email)
		switch {
		case err != nil:
			return a, doing(err, "asking SES about %s", email)
		case a.Verified:
			return a, nil
		case a.Status == string(types.VerificationStatusFailed):
			return a, fmt.Errorf("%s: %w: the link was not followed within a day; delete the identity in SES and ask again", email, ErrUnverified)
		}
		if err := d.wait(limited); err != nil {
			if ctx.Err() != nil {
				return a, ctx.Err()
			}
			return a, fmt.Errorf("%s: %w after %s", email, ErrUnverified, patience)
		}
	}
}

func (d *Deployer) address(ctx context.Context, email string) (Address, error) {
	out, err := d.Mail.GetEmailIdentity(ctx, &sesv2.GetEmailIdentityInput{EmailIdentity: &email})
	if err != nil {
		return Address{Email: email}, err
	}
	a := Address{Email: email, Verified: out.VerifiedForSendingStatus, Status: string(out.VerificationStatus)}
	if a.Status == "" {
		a.Status = map[bool]string{true: "SUCCESS", false: "PENDING"}[a.Verified]
	}
	return a, nil
}

// MailAccount is what SES lets the account do in this region.
type MailAccount struct {
	Sandbox   bool    `json:"sandbox"` // mails go to verified addresses only
	PerDay    float64 `json:"per_day"` // recipients in 24 h
	PerSecond float64 `json:"per_second"`
	Sent      float64 `json:"sent"` // in the last 24 h
}

// MailAccount asks what SES lets the account do.
func (d *Deployer) MailAccount(ctx context.Context) (MailAccount, error) {
	out, err := d.Mail.GetAccount(ctx, &sesv2.GetAccountInput{})
	if err != nil {
		return MailAccount{}, doing(err, "asking SES about the account")
	}
	m := MailAccount{Sandbox: !out.ProductionAccessEnabled}
	if q := out.SendQuota; q != nil {
		m.PerDay, m.PerSecond, m.Sent = q.Max24HourSend, q.MaxSendRate, q.SentLast24Hours
	}
	return m, nil
}

// String says it to a person.
func (m MailAccount) String() string {
	var b strings.Builder
	if m.Sandbox {
		b.WriteString("SES is in the sandbox here: mails go to verified addresses only; ")
	} else {
		b.WriteString("SES may mail anybody; ")
	}
	fmt.Fprintf(&b, "%.0f of %.0f recipients used in 24 hours, %.0f per second", m.Sent, m.PerDay, m.PerSecond)
	return b.String()
}
