package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// publish gives the pair to every required publisher, in order. All are asked
// again after a failure; publishing is idempotent.
func (p *pass) publish(id string) error {
	c := p.credential(id)
	for _, pub := range p.Publishers {
		if err := p.lease(c.User); err != nil {
			return err
		}
		ctx, cancel := p.effect()
		err := pub.Publish(ctx, c)
		cancel()
		if err != nil {
			return fmt.Errorf("publisher %s: %w", pub.Name(), unspoken(err, c.Secret))
		}
	}
	return nil
}

// copy gives the pair to the optional publishers that have not confirmed it.
// One that fails does not keep the others from getting it.
func (p *pass) copy(step plan.Step) (plan.Outcome, error) {
	var out plan.Outcome
	var errs []error
	c := p.credential(step.KeyID)
	left := p.entry.Record.Uncopied(p.policy, step.KeyID)
	for _, pub := range p.Optional {
		if !slices.Contains(left, pub.Name()) {
			continue
		}
		if err := p.lease(c.User); err != nil {
			errs = append(errs, err)
			break
		}
		ctx, cancel := p.spare(step)
		err := pub.Publish(ctx, c)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("optional publisher %s: %w", pub.Name(), unspoken(err, c.Secret)))
			continue
		}
		out.Copied = append(out.Copied, pub.Name())
	}
	return out, errors.Join(errs...)
}

// spare is the context of a call that must be over when something else is due.
func (p *pass) spare(step plan.Step) (context.Context, context.CancelFunc) {
	ctx, cancel := p.effect()
	if step.Wake.IsZero() {
		return ctx, cancel
	}
	ctx, soon := context.WithTimeout(ctx, max(step.Wake.Sub(p.now()), 100*time.Millisecond))
	return ctx, func() { soon(); cancel() }
}

func (p *pass) credential(id string) Credential {
	k := p.entry.Record.Key(id)
	return Credential{
		User: p.entry.Record.User, UserID: p.entry.Record.UserID, KeyID: id, Secret: p.entry.Secrets[id],
		Created: k.Created, Expiration: k.Slot.Add(p.policy.DeactivateAfter - p.policy.Grace),
	}
}

// unspoken returns err, or, should a publisher have put the secret into its
// text, an error without it: the text is saved and logged.
func unspoken(err error, s Secret) error {
	if s.IsZero() || !strings.Contains(err.Error(), s.Reveal()) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), s.Reveal(), redacted))
}
