package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// consent asks before anything is changed: whether a stack is to be made or
// repaired, and whether more may happen than before. What exactly an update
// changes is asked once CloudFormation has said it, which takes the upload.
func (p *deployment) consent(ctx context.Context, order deploy.Order) error {
	s, err := p.d.Stack(ctx, p.o.Name)
	fresh := errors.Is(err, deploy.ErrNoStack)
	switch {
	case err != nil && !fresh:
		return err
	case fresh, s.Status == types.StackStatusReviewInProgress, s.Doomed():
		p.say("stack %s is made, with a table and a KMS key, two functions, an API and alarms", p.o.Name)
	case s.Status == types.StackStatusUpdateRollbackFailed:
		p.say("stack %s is in %s: its roll-back is continued, and then it is updated", p.o.Name, s.Status)
	case p.o.Cleanup: // which asks by itself, and then nothing is left to be wider than
		return nil
	default:
		return p.widen(ctx, widenings(s.Parameters, order.Parameters))
	}
	p.say("bucket %s is made if it is missing, for the function's program", p.d.Bucket())
	if !p.o.SkipMail {
		p.say("SES is asked to verify %s, by a mail with a link", strings.Join(p.addresses(), " and "))
	}
	if !p.o.Yes {
		if err := p.agreed(ctx, fmt.Sprintf("Carry this out in account %s, region %s?", p.d.Account, p.d.Region)); err != nil {
			return err
		}
	}
	p.sure = true
	return nil
}

// permitted asks whether the plan is to be carried out, unless that was asked before.
func (p *deployment) permitted(ctx context.Context, s deploy.Stack, fresh bool, order deploy.Order) error {
	if fresh && p.sure {
		return nil
	}
	if more := widenings(s.Parameters, order.Parameters); !fresh && !slices.Equal(more, p.more) { // somebody else changed it meanwhile
		if err := p.widen(ctx, more); err != nil {
			return err
		}
	}
	if p.o.Yes {
		return nil
	}
	yes, err := p.confirmed(ctx, fmt.Sprintf("Carry this out in account %s, region %s?", p.d.Account, p.d.Region))
	switch {
	case err != nil:
		return cutShort(ctx, err, "the stack was not changed; the program that was uploaded to bucket %s stays until the next deploy or cleanup",
			p.d.Bucket())
	case !yes:
		return usage(fmt.Errorf("not confirmed: the stack was not changed; the program that was uploaded to bucket %s stays until "+
			"the next deploy or cleanup", p.d.Bucket()), "answer yes, or give --yes")
	}
	return nil
}

// addresses are those that mails come from and go to.
func (p *deployment) addresses() []string { return slices.Compact([]string{p.o.Admin, p.o.Sender}) }
