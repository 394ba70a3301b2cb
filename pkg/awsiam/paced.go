package awsiam

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/keyrot/keyrot/pkg/pace"
	"github.com/keyrot/keyrot/pkg/rotate"
)

func throttled(err error) bool { return errors.Is(codes[code(err)], rotate.ErrThrottled) }

// change makes one call that changes something; the caller has waited for the
// pace, which learns what came of it. absent is what NoSuchEntity means to the
// caller; nil: success.
func (a *IAM) change(doing string, which rotate.Call, absent error, call func() error) error {
	heard := a.Pace.Sent(which)
	err := call()
	if err == nil || codes[code(err)] != nil || isAbsent(err) { // otherwise AWS may not have seen the call
		heard(throttled(err))
	}
	if err == nil || absent == nil && isAbsent(err) {
		return nil
	}
	return translate(doing, err, absent)
}

// paced has the SDK leave a call that is throttled to the caller, who waits for
// the pace again, and counts the other calls that the SDK repeats by itself.
func (a *IAM) paced(call rotate.Call) func(*iam.Options) {
	return func(o *iam.Options) { o.Retryer = pacedRetryer{o.Retryer, a.Pace, call} }
}

type pacedRetryer struct {
	aws.Retryer
	budget *pace.Budget
	call   rotate.Call
}

func (r pacedRetryer) IsErrorRetryable(err error) bool {
	return !throttled(err) && r.Retryer.IsErrorRetryable(err)
}

func (r pacedRetryer) GetRetryToken(ctx context.Context, err error) (release func(error) error, _ error) {
	release, failed := r.Retryer.GetRetryToken(ctx, err)
	if failed == nil {
		r.budget.Spend(r.call)
	}
	return release, failed
}

// read makes a call that changes nothing, at its pace. The SDK repeats it when it
// is throttled, which is counted and learnt from, too.
func read[In, Out any](ctx context.Context, a *IAM, call rotate.Call, do operation[In, Out, iam.Options], in *In) (*Out, error) {
	if err := a.Pace.Wait(ctx, call); err != nil {
		return nil, fmt.Errorf("waiting for the turn of %s: %w", call, err)
	}
	r := readRetryer{pacedRetryer: pacedRetryer{budget: a.Pace, call: call}, heard: a.Pace.Sent(call)}
	out, err := do(ctx, in, func(o *iam.Options) { r.Retryer, o.Retryer = o.Retryer, &r })
	if err == nil || isAbsent(err) {
		r.heard(false)
	}
	return out, err
}

// readRetryer is of one call.
type readRetryer struct {
	pacedRetryer
	heard func(throttled bool) // of the latest attempt
}

func (r *readRetryer) IsErrorRetryable(err error) bool {
	if throttled(err) {
		r.heard(true)
	}
	return r.Retryer.IsErrorRetryable(err)
}

func (r *readRetryer) GetRetryToken(ctx context.Context, err error) (release func(error) error, _ error) {
	release, failed := r.pacedRetryer.GetRetryToken(ctx, err)
	r.heard = r.budget.Sent(r.call)
	return release, failed
}
