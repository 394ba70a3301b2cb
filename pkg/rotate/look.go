package rotate

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// look asks IAM for the user's keys.
func (p *pass) look(user string) error {
	if err := p.observe(); errors.Is(err, errUnsent) {
		return err
	} else if err != nil {
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
	name := p.nameNow()
	var keys []plan.Key
	err := p.ask(func(ctx context.Context) (err error) {
		keys, err = p.IAM.Keys(ctx, name)
		return err
	})
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

// asExpected looks at the keys of a user that is not due, and reports whether IAM
// lists what the record holds, so that there is nothing to do or to save. It does
// without the lease: after a start that is so for nearly everybody, and taking a
// lease and giving it up are two commits.
func (r *Rotator) asExpected(ctx context.Context, e Entry) bool {
	rec := e.Record
	if rec.Order != nil || r.selected.renamed(rec) != "" {
		return false
	}
	at := r.gates.reads.join(urgency{plan.RankCreate, e.Due})
	defer at.leave()
	if at.wait(ctx) != nil {
		return false
	}
	policy := r.policy(rec.User, rec.UserID)
	ctx, cancel := context.WithTimeout(ctx, policy.CallTimeout)
	defer cancel()
	keys, err := r.IAM.Keys(ctx, rec.IAMName())
	if err != nil || !r.Clock.Known() {
		return false
	}
	r.awake(rec.User)
	step := plan.Next(plan.World{Record: rec, Keys: keys, Name: rec.IAMName()}, policy, r.now())
	return step.Action == plan.Wait && !step.Reason.Stuck() && rec.Waiting == "" && !step.Wake.Before(e.Due)
}

// nameNow returns what IAM calls the user: as before, or as the selection found
// its unique id if IAM confirms that.
func (p *pass) nameNow() string {
	rec, name := p.entry.Record, p.renamed()
	if name == "" {
		return rec.IAMName()
	}
	err := p.ask(func(ctx context.Context) error {
		u, err := p.IAM.User(ctx, name)
		if err == nil && !rec.Is(u.ID) {
			err = ErrNoUser
		}
		return err
	})
	if err != nil {
		return rec.IAMName()
	}
	return name
}

// renamed returns the name that the selection found the user's unique id under,
// if the record has another one, or "".
func (p *pass) renamed() string { return p.selected.renamed(p.entry.Record) }

func (s *selection) renamed(rec plan.Record) string {
	if name := s.nameOf(rec.UserID); name != rec.IAMName() {
		return name
	}
	return ""
}
