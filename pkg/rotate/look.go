package rotate

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// look asks IAM for the user's keys.
func (p *pass) look(user string) error {
	if err := p.observe(); err != nil {
		if late := p.timely(); late != nil {
			return late
		}
		err = p.failed(plan.Step{Action: plan.Wait}, fmt.Errorf("looking at the keys of %q: %w", user, err))
		if p.Observe != nil {
			p.Observe(user, plan.Step{Action: plan.Wait}, err)
		}
		return err
	}
	if err := p.timely(); err != nil {
		return err
	}
	p.awake(user)
	return nil
}

func (p *pass) observe() error {
	ctx, cancel := p.effect()
	defer cancel()
	name := p.nameNow(ctx)
	keys, err := p.IAM.Keys(ctx, name)
	switch {
	case errors.Is(err, ErrNoUser):
		p.world = plan.World{Absent: true}
	case err != nil:
		return err
	default:
		p.world = plan.World{Keys: keys, Name: name}
	}
	return nil
}

// nameNow returns what IAM calls the user: as before, or as the selection found
// its unique id if IAM confirms that.
func (p *pass) nameNow(ctx context.Context) string {
	rec := p.entry.Record
	if name := p.renamed(); name != "" {
		if u, err := p.IAM.User(ctx, name); err == nil && rec.Is(u.ID) {
			return name
		}
	}
	return rec.IAMName()
}

// renamed returns the name that the selection found the user's unique id under,
// if the record has another one, or "".
func (p *pass) renamed() string {
	name := p.selected.nameOf(p.entry.Record.UserID)
	if name == p.entry.Record.IAMName() {
		return ""
	}
	return name
}
