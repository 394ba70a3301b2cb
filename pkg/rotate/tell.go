package rotate

import (
	"context"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// asks reports whether the step asks AWS about a key.
func asks(step plan.Step) bool {
	return step.Action == plan.Verify || step.Action == plan.Probe || step.Action == plan.Check
}

func answer(out plan.Outcome) string {
	if out.Refused {
		return "refused"
	}
	return "ok"
}

// tell records how a step went, and tells whoever watches.
func (p *pass) tell(step plan.Step, out plan.Outcome, err error) {
	result := answer(out)
	if err != nil {
		result = err.Error()
	}
	if step.KeyID == "" {
		step.KeyID = out.Key.ID
	}
	if aerr := p.audit(step, result); aerr != nil {
		p.Log.Warn("audit log did not take the result", "user", p.report.User, "action", step.Action, "err", aerr)
	}
	if p.Observe != nil {
		p.Observe(p.report.User, step, err)
	}
	if err != nil {
		return // the pass returns it
	}
	log := p.Log.Debug
	if step.Action.Mutates() || step.Action == plan.Promote || step.Action == plan.Notice || step.Action == plan.Adopt {
		log = p.Log.Info
	}
	if step.Action == plan.Deactivate && step.Reason == plan.Orphan {
		log = p.Log.Warn // if it is somebody's, they have to act
	}
	if step.Action == plan.Follow {
		p.Log.Warn("the IAM user was renamed; keyrot keeps using the old name", "user", p.report.User, "now", step.Name)
	}
	log("step", "user", p.report.User, "action", step.Action, "key", ShortID(step.KeyID), "reason", step.Reason, "result", result)
}

// audit records a step that is about to be taken, or its result.
func (p *pass) audit(step plan.Step, result string) error {
	// Recorded are changes and decisions; looking is not.
	if !step.Action.Mutates() && result != "" && result != "ok" && step.Action != plan.Publish && step.Action != plan.Copy {
		return nil
	}
	switch step.Action {
	case plan.Identify, plan.Inspect, plan.Survey:
		return nil
	case plan.Verify, plan.Probe, plan.Check: // do records the answer
		return nil
	}
	return p.enter(step, result)
}

// enter appends to the audit log, whatever the step.
func (p *pass) enter(step plan.Step, result string) error {
	if p.Audit == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)
	defer cancel()
	p.recorded = true
	return p.Audit.Append(ctx, Event{
		Time: p.now(), Action: string(step.Action), User: p.entry.Record.User, UserID: p.entry.Record.UserID,
		Key: step.KeyID, Reason: reasonOf(step), Due: step.Due, Actor: p.Owner, Result: plan.Brief(result), More: true,
	})
}

// reasonOf is the step's reason as the audit log has it.
func reasonOf(step plan.Step) string {
	if step.Name != "" {
		return fmt.Sprintf("%s: %q", step.Reason, step.Name)
	}
	return string(step.Reason)
}

// held tells that nothing moves, and why.
func (p *pass) held(step plan.Step) {
	p.Log.Warn("cannot go on", "user", p.report.User, "key", ShortID(step.KeyID), "reason", step.Reason)
	_ = p.audit(step, "held")
	if p.Observe != nil {
		p.Observe(p.report.User, step, nil)
	}
}
