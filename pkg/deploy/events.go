package deploy

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// watcher follows the events of one stack. The SDK's waiters look every 30 s
// and tell nothing meanwhile.
type watcher struct {
	d       *Deployer
	id      string
	seen    map[string]bool
	first   string // the first failure's reason that is no consequence of another
	skipped error  // the events before the operation could not be read
	warned  bool
}

// watch begins to follow the stack: events that are there already are not told.
func (d *Deployer) watch(ctx context.Context, id string) *watcher {
	w := &watcher{d: d, id: id, seen: map[string]bool{}}
	_, w.skipped = w.fresh(ctx)
	w.blind(ctx, w.skipped)
	return w
}

// blind tells, once, that events cannot be read: the operation goes on all the
// same.
func (w *watcher) blind(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !w.warned {
		w.warned = true
		w.d.say("warning: %v; progress is not shown", doing(err, "reading the events of the stack"))
	}
}

// until tells events until the operation has ended, and returns the stack. A
// stack that is gone is ErrNoStack.
func (w *watcher) until(ctx context.Context) (Stack, error) {
	for {
		s, err := w.d.Stack(ctx, w.id)
		if err != nil {
			return Stack{}, err
		}
		// After the state, so that none of the operation's events is missed.
		events, err := w.fresh(ctx)
		if err != nil && ctx.Err() != nil {
			return Stack{}, err
		}
		w.blind(ctx, err)
		for i := len(events) - 1; i >= 0; i-- {
			w.tell(events[i])
		}
		if !strings.HasSuffix(string(s.Status), "_IN_PROGRESS") {
			return s, nil
		}
		if err := w.d.wait(ctx); err != nil {
			return Stack{}, doing(err, "stack %s is still in %s", s.Name, s.Status)
		}
	}
}

// fresh returns the events that were not seen yet, newest first as AWS lists
// them.
func (w *watcher) fresh(ctx context.Context) ([]types.StackEvent, error) {
	in := &cloudformation.DescribeStackEventsInput{StackName: &w.id}
	var news []types.StackEvent
	for {
		out, err := w.d.Stacks.DescribeStackEvents(ctx, in)
		if err != nil {
			return news, err
		}
		old := false
		for _, e := range out.StackEvents {
			if id := aws.ToString(e.EventId); w.seen[id] {
				old = true
			} else {
				w.seen[id] = true
				news = append(news, e)
			}
		}
		if old || aws.ToString(out.NextToken) == "" {
			return news, nil
		}
		in.NextToken = out.NextToken
	}
}

func (w *watcher) tell(e types.StackEvent) {
	if w.skipped != nil {
		return // it may be of a former operation
	}
	status, reason := string(e.ResourceStatus), aws.ToString(e.ResourceStatusReason)
	line := "  " + status + " " + aws.ToString(e.ResourceType) + " " + aws.ToString(e.LogicalResourceId)
	if strings.HasSuffix(status, "_FAILED") {
		line += ": " + reason
		if w.first == "" && !consequence(reason) {
			w.first = aws.ToString(e.LogicalResourceId) + ": " + reason
		}
	}
	w.d.say("%s", line)
}

// consequence reports whether the reason says no more than that something else
// failed.
func consequence(reason string) bool {
	return reason == "" || strings.Contains(reason, "cancelled") || strings.HasPrefix(reason, "The following resource(s) failed to")
}

// cause is why the stack is as it is.
func (w *watcher) cause(s Stack) string {
	switch {
	case w.first != "":
		return w.first
	case s.Reason != "":
		return s.Reason
	}
	return "CloudFormation gives no reason; see the stack's events"
}
