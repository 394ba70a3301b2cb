package rotate

import (
	"context"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Call is an API call of IAM that changes something.
type Call string

// The calls that change something.
const (
	CreateAccessKey Call = "CreateAccessKey"
	UpdateAccessKey Call = "UpdateAccessKey"
	DeleteAccessKey Call = "DeleteAccessKey"
)

// Pace says when IAM may be asked to change something: AWS throttles such calls
// for each account. Implementations must be safe for concurrent use.
type Pace interface {
	// Wait returns when the call may be made. An error says that ctx ended
	// before: the call must not be made. It is not part of the call: a call's
	// deadline begins after it. Calls that are first go before all others.
	Wait(ctx context.Context, call Call, first bool) error
}

// callOf returns the call that an action makes, "" if it changes nothing in IAM.
func callOf(a plan.Action) Call {
	switch a {
	case plan.Create:
		return CreateAccessKey
	case plan.Deactivate, plan.Reactivate:
		return UpdateAccessKey
	case plan.Delete:
		return DeleteAccessKey
	}
	return ""
}

// turn waits until the step's call may be made, if it makes one. What the pace
// has let through is kept for a step that comes in this one's place.
func (p *pass) turn(step plan.Step) error {
	call := callOf(step.Action)
	if call == "" || p.Pace == nil || p.may == call {
		return nil
	}
	if err := p.Pace.Wait(p.ctx, call, p.entry.Record.Burning()); err != nil {
		return fmt.Errorf("waiting for the turn of %s: %w", call, err)
	}
	p.may = call
	return nil
}
