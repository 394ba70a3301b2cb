package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/keyrot/keyrot/internal/hint"
)

// ErrNoStack: there is no such stack.
var ErrNoStack = errors.New("no such stack")

// ErrNotOurs: the stack's template is not keyrot's.
var ErrNotOurs = errors.New("the stack is not keyrot's")

// tagName marks stacks that keyrot made; its value is tagValue.
const (
	tagName  = "keyrot:deployed-by"
	tagValue = "keyrot"
)

// Stack is a stack as it is.
type Stack struct {
	Name, ID   string
	Status     types.StackStatus
	Reason     string // of the status, if CloudFormation gives one
	Outputs    map[string]string
	Parameters map[string]string
	Ours       bool // made by Deployer
}

// Stack looks the stack up by name or id. ErrNoStack if there is none.
func (d *Deployer) Stack(ctx context.Context, name string) (Stack, error) {
	out, err := d.Stacks.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if code(err) == "ValidationError" && strings.Contains(err.Error(), "does not exist") || err == nil && len(out.Stacks) == 0 {
		return Stack{}, fmt.Errorf("stack %s in %s: %w", name, d.Region, ErrNoStack)
	}
	if err != nil {
		return Stack{}, doing(err, "looking at stack %s", name)
	}
	in := out.Stacks[0]
	s := Stack{
		Name: aws.ToString(in.StackName), ID: aws.ToString(in.StackId), Status: in.StackStatus, Reason: aws.ToString(in.StackStatusReason),
		Outputs: map[string]string{}, Parameters: map[string]string{},
	}
	for _, o := range in.Outputs {
		s.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for _, p := range in.Parameters {
		s.Parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, t := range in.Tags {
		s.Ours = s.Ours || aws.ToString(t.Key) == tagName && aws.ToString(t.Value) == tagValue
	}
	return s, nil
}

// Order is what a stack should become.
type Order struct {
	Name       string
	Template   string
	Parameters map[string]string
}

// Change is one line of a plan.
type Change struct {
	Action      string `json:"action"` // Add, Modify, Remove, Import or Dynamic
	Resource    string `json:"resource"`
	Type        string `json:"type"`
	Replacement string `json:"replacement,omitempty"` // True, False or Conditional
}

// Setting is a parameter that changes. Old is "" in a new stack.
type Setting struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new"`
}

// Plan is a change set that waits.
type Plan struct {
	Stack    string    `json:"stack"`
	Create   bool      `json:"create"`
	Changes  []Change  `json:"changes"`
	Settings []Setting `json:"settings"`
	id       string
	stackID  string
}

// Empty reports whether the stack is as ordered already.
func (p Plan) Empty() bool { return p.id == "" }

// cleared are the states in which a stack can only be deleted: it never
// worked, or is half gone.
var cleared = []types.StackStatus{
	types.StackStatusRollbackComplete, types.StackStatusRollbackFailed, types.StackStatusCreateFailed, types.StackStatusDeleteFailed,
}

// Doomed reports whether the stack can only be deleted, which Ready does. What
// it leaves behind is its successor's to take over.
func (s Stack) Doomed() bool { return slices.Contains(cleared, s.Status) }

// Ready brings the stack into a state in which a change set can be made: waits
// for what is under way, clears away what never worked, ends a roll-back that
// is stuck. fresh: there is no stack that could be updated.
func (d *Deployer) Ready(ctx context.Context, name string) (s Stack, fresh bool, err error) {
	for range 5 { // each turn leaves one state; more are somebody else's doing
		s, err = d.Stack(ctx, name)
		switch {
		case errors.Is(err, ErrNoStack):
			return Stack{Name: name}, true, nil
		case err != nil:
			return Stack{}, false, err
		case s.Status == types.StackStatusReviewInProgress:
			return s, true, nil // a change set that was never executed
		case strings.HasSuffix(string(s.Status), "_IN_PROGRESS"):
			d.say("stack %s: waiting for %s to end", name, s.Status)
			if err := d.settle(ctx, s); err != nil && ctx.Err() != nil {
				return Stack{}, false, err
			}
		case s.Doomed():
			d.say("stack %s is in %s, left by a former run: deleting it first", name, s.Status)
			if err := d.Delete(ctx, s, false); err != nil {
				return Stack{}, false, err
			}
		case s.Status == types.StackStatusUpdateRollbackFailed:
			d.say("stack %s is in %s: going on with the roll-back", name, s.Status)
			w := d.watch(ctx, s.ID)
			if _, err := d.Stacks.ContinueUpdateRollback(ctx, &cloudformation.ContinueUpdateRollbackInput{StackName: &s.ID}); err != nil {
				return Stack{}, false, doing(err, "going on with the roll-back of stack %s", name)
			}
			if _, err := w.until(ctx); err != nil {
				return Stack{}, false, err
			}
		default:
			return s, false, nil
		}
	}
	return Stack{}, false, fmt.Errorf("stack %s stays in %s", name, s.Status)
}

// settle waits for the end of an operation that somebody else began.
func (d *Deployer) settle(ctx context.Context, s Stack) error {
	_, err := d.watch(ctx, s.ID).until(ctx)
	return err
}

// Plan makes a change set that turns the stack into what is ordered; an empty
// plan if it is that already. The stack must be Ready.
func (d *Deployer) Plan(ctx context.Context, s Stack, fresh bool, o Order) (Plan, error) {
	kind := types.ChangeSetTypeUpdate
	if fresh {
		kind = types.ChangeSetTypeCreate
	}
	name := "keyrot-" + strings.ToLower(rand.Text())
	in := &cloudformation.CreateChangeSetInput{
		StackName: &o.Name, ChangeSetName: &name, ChangeSetType: kind,
		ClientToken:  &name, // the SDK repeats a request whose answer was lost
		TemplateBody: &o.Template, Capabilities: []types.Capability{types.CapabilityCapabilityIam},
		Tags: []types.Tag{{Key: aws.String(tagName), Value: aws.String(tagValue)}},
	}
	p := Plan{Stack: o.Name, Create: fresh}
	for _, name := range sorted(o.Parameters) {
		value := o.Parameters[name]
		in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: &name, ParameterValue: &value})
		if old := s.Parameters[name]; old != value {
			p.Settings = append(p.Settings, Setting{name, old, value})
		}
	}
	for _, name := range sorted(s.Parameters) { // not told anew; CloudFormation would reset it to the template's default
		byDefault, declared := parameter(o.Template, name)
		if _, told := o.Parameters[name]; !told && !fresh && declared && s.Parameters[name] != byDefault {
			in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: &name, UsePreviousValue: aws.Bool(true)})
		}
	}
	made, err := d.Stacks.CreateChangeSet(ctx, in)
	if err != nil {
		return Plan{}, doing(err, "planning stack %s", o.Name)
	}
	p.id, p.stackID = aws.ToString(made.Id), aws.ToString(made.StackId)
	for {
		out, err := d.Stacks.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &p.id, StackName: &p.stackID})
		if err != nil {
			return Plan{}, doing(err, "reading the plan of stack %s", o.Name)
		}
		switch out.Status {
		case types.ChangeSetStatusCreateComplete:
			p.Changes, err = d.changes(ctx, p, out)
			return p, err
		case types.ChangeSetStatusFailed:
			reason := aws.ToString(out.StatusReason)
			if unchanged(reason) {
				return Plan{Stack: o.Name}, d.Discard(ctx, p)
			}
			return Plan{}, errors.Join(fmt.Errorf("planning stack %s: %s", o.Name, reason), d.Discard(ctx, p))
		}
		if err := d.wait(ctx); err != nil {
			return Plan{}, err
		}
	}
}

var (
	defaultValue  = regexp.MustCompile(`\bDefault: *"?([^",}\n]*)`)
	nextParameter = regexp.MustCompile(`\n  \S`)
)

// parameter reports whether the template, YAML as keyrot's is written, has the
// parameter, and its default.
func parameter(template, name string) (byDefault string, ok bool) {
	_, after, _ := strings.Cut(template, "\nParameters:\n")
	section, _, _ := strings.Cut(after, "\n\n")
	_, text, ok := strings.Cut("\n"+section, "\n  "+name+":")
	if end := nextParameter.FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	if m := defaultValue.FindStringSubmatch(text); m != nil {
		byDefault = m[1]
	}
	return byDefault, ok
}

// unchanged reports whether that is how CloudFormation says that there is
// nothing to change.
func unchanged(reason string) bool {
	return strings.Contains(reason, "didn't contain changes") || strings.Contains(reason, "No updates are to be performed")
}

// changes reads all pages of a change set.
func (d *Deployer) changes(ctx context.Context, p Plan, page *cloudformation.DescribeChangeSetOutput) (all []Change, err error) {
	for {
		for _, c := range page.Changes {
			if r := c.ResourceChange; r != nil {
				all = append(all, Change{string(r.Action), aws.ToString(r.LogicalResourceId), aws.ToString(r.ResourceType), string(r.Replacement)})
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return all, nil
		}
		page, err = d.Stacks.DescribeChangeSet(ctx,
			&cloudformation.DescribeChangeSetInput{ChangeSetName: &p.id, StackName: &p.stackID, NextToken: page.NextToken})
		if err != nil {
			return nil, doing(err, "reading the plan of stack %s", p.Stack)
		}
	}
}

// Discard deletes a plan that will not be executed, and with it the empty
// stack that was made to hold it.
func (d *Deployer) Discard(ctx context.Context, p Plan) error {
	if _, err := d.Stacks.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: &p.id, StackName: &p.stackID}); err != nil {
		return doing(err, "discarding the plan of stack %s", p.Stack)
	}
	if !p.Create {
		return nil
	}
	_, err := d.Stacks.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &p.stackID})
	return doing(err, "discarding the empty stack %s", p.Stack)
}

// Execute carries a plan out and waits for its end. If the stack is rolled
// back, the error has the first failure's reason.
func (d *Deployer) Execute(ctx context.Context, p Plan) (Stack, error) {
	w := d.watch(ctx, p.stackID)
	_, err := d.Stacks.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{
		ChangeSetName: &p.id, StackName: &p.stackID, ClientRequestToken: aws.String(token(p.id)),
	})
	if err != nil {
		return Stack{}, doing(err, "executing the plan of stack %s", p.Stack)
	}
	s, err := w.until(ctx)
	if err != nil {
		return s, err
	}
	if s.Status != types.StackStatusCreateComplete && s.Status != types.StackStatusUpdateComplete {
		err = fmt.Errorf("stack %s is in %s: %s", p.Stack, s.Status, w.cause(s))
		return s, hint.Wrap(err, "fix the cause and run the same command again: it clears away what is left")
	}
	return s, nil
}

// Delete deletes the stack and waits until it is gone. With abandon, resources
// that cannot be deleted are left where they are.
func (d *Deployer) Delete(ctx context.Context, s Stack, abandon bool) error {
	in := &cloudformation.DeleteStackInput{StackName: &s.ID}
	if abandon && s.Status == types.StackStatusDeleteFailed {
		all, err := d.Resources(ctx, s)
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.Status == types.ResourceStatusDeleteFailed {
				in.RetainResources = append(in.RetainResources, r.Logical)
				d.say("%s %s is left where it is", r.Type, r.Physical)
			}
		}
	}
	w := d.watch(ctx, s.ID)
	if _, err := d.Stacks.DeleteStack(ctx, in); err != nil {
		return doing(err, "deleting stack %s", s.Name)
	}
	end, err := w.until(ctx)
	switch {
	case errors.Is(err, ErrNoStack): // gone, and forgotten already
		return nil
	case err != nil:
		return err
	case end.Status != types.StackStatusDeleteComplete:
		err = fmt.Errorf("stack %s is in %s: %s", s.Name, end.Status, w.cause(end))
		return hint.Wrap(err, `remove what stands in the way and run this again, or let "keyrot cleanup --abandon" leave it where it is`)
	}
	return nil
}

// Resource is a resource of a stack.
type Resource struct {
	Logical, Physical, Type string
	Status                  types.ResourceStatus
}

// Resources lists what a stack has, half made or not.
func (d *Deployer) Resources(ctx context.Context, s Stack) ([]Resource, error) {
	out, err := d.Stacks.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &s.ID})
	if err != nil {
		return nil, doing(err, "listing the resources of stack %s", s.Name)
	}
	var all []Resource
	for _, r := range out.StackResources {
		all = append(all, Resource{
			aws.ToString(r.LogicalResourceId), aws.ToString(r.PhysicalResourceId),
			aws.ToString(r.ResourceType), r.ResourceStatus,
		})
	}
	return all, nil
}

// token makes the token of a request that may be repeated.
func token(id string) string {
	if i := strings.LastIndexByte(id, ':'); i >= 0 {
		id = id[i+1:]
	}
	return strings.NewReplacer("/", "-").Replace(strings.TrimPrefix(id, "changeSet/"))
}

func sorted(m map[string]string) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
