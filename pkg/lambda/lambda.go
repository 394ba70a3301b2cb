// Package lambda runs keyrot as an AWS Lambda function: an event comes in, one
// pass or one HTTP request is made of it, and the result goes out. It decides
// nothing about keys and does not know what it is joined to.
package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// ErrEvent: the event is none that this function answers.
var ErrEvent = errors.New("event not understood")

// Defaults of a Function.
const (
	defaultMargin = 20 * time.Second
	defaultMaxAge = time.Minute
	maxPatience   = time.Minute

	tellTime   = 8 * time.Second // for Tell, before
	answerTime = time.Second     // the deadline, half of which is for Overdue
)

// Function answers events. Its fields must not change once it does. Lambda
// sends one event at a time; it is safe for concurrent use all the same.
type Function struct {
	// RunOnce makes one pass. Nil: this function does not rotate.
	RunOnce func(context.Context, rotate.Options) (rotate.Report, error)
	// API answers HTTP requests. Nil: this function does not.
	API http.Handler
	// Margin is how long before its deadline a pass starts nothing new: a
	// call under way and the save of its result must fit. Default 20 s.
	Margin time.Duration
	// MaxAge is how old a scheduled event may be. An older one is not worth a
	// pass: a newer one has come or is to come. Default 1 min.
	MaxAge time.Duration
	// Overdue counts the users whose key is later than it should be, for the
	// metrics. Nil: not told.
	Overdue func(context.Context) (int, error)
	// Tell writes down and sends what there is to tell. It is called after each
	// pass, and beside one that is still not over 9 s before the function's
	// deadline; its context ends 1 s before that. Nil: nobody is told.
	Tell func(context.Context)
	// Metrics takes one line of JSON for each pass, in CloudWatch's embedded
	// metric format. Nil: none.
	Metrics io.Writer
	// Name is the metrics' dimension.
	Name string
	Log  *slog.Logger     // nil: discarded
	Now  func() time.Time // nil: time.Now
}

// event is what is looked at of any event to tell what it is.
type event struct {
	// EventBridge.
	Source     string    `json:"source"`
	DetailType string    `json:"detail-type"`
	Time       time.Time `json:"time"`
	// A direct invocation.
	Action string `json:"action"`
	// API Gateway.
	HTTPMethod     string `json:"httpMethod"` // REST API, payload 1.0
	RequestContext struct {
		HTTP struct {
			Method string `json:"method"` // HTTP API, payload 2.0
		} `json:"http"`
	} `json:"requestContext"`
}

// Invoke answers one event with a value for encoding/json. An error counts as
// a failed invocation.
func (f *Function) Invoke(ctx context.Context, payload json.RawMessage) (_ any, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.log().Error("panic", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("internal error: see the log")
		}
	}()
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("%w: not an object of the expected fields", ErrEvent) // the cause may quote it
	}
	switch {
	case e.RequestContext.HTTP.Method != "" || e.HTTPMethod != "":
		if f.API == nil {
			return nil, fmt.Errorf("%w: this function does not serve the API", ErrEvent)
		}
		return f.serve(ctx, payload, e.HTTPMethod == "")
	case e.Action != "":
		return f.direct(ctx, payload)
	case e.Source == "aws.events" && e.DetailType == "Scheduled Event":
		return f.tick(ctx, e)
	}
	return nil, fmt.Errorf("%w: neither a schedule, nor an API request, nor an action", ErrEvent)
}

// tick answers a scheduled event. The pass does not wait for keys to settle:
// the next tick goes on.
func (f *Function) tick(ctx context.Context, e event) (any, error) {
	if age := f.now().Sub(e.Time); age > f.maxAge() && !e.Time.IsZero() {
		f.log().Warn("event is too late, the next one will do", "age", age.String())
		return Result{Skipped: "late"}, nil
	}
	return f.pass(ctx, rotate.Options{Unattended: true})
}

// Request is a direct invocation.
type Request struct {
	Action string   `json:"action"` // "rotate"
	Users  []string `json:"users,omitempty"`
	Force  bool     `json:"force,omitempty"`
	DryRun bool     `json:"dry_run,omitempty"`
	// WaitSeconds is how long to wait for a new key to settle; at most 60.
	WaitSeconds int `json:"wait_seconds,omitempty"`
}

// ActionRotate is the one action.
const ActionRotate = "rotate"

func (f *Function) direct(ctx context.Context, payload []byte) (any, error) {
	var r Request
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if r.Action != ActionRotate {
		return nil, fmt.Errorf("%w: action %q is not %q", ErrEvent, r.Action, ActionRotate)
	}
	wait := min(maxPatience, max(0, time.Duration(r.WaitSeconds)*time.Second))
	return f.pass(ctx, rotate.Options{Users: r.Users, Force: r.Force, DryRun: r.DryRun, Patience: wait})
}

// pass makes one pass that ends in time.
func (f *Function) pass(ctx context.Context, o rotate.Options) (any, error) {
	if f.RunOnce == nil {
		return nil, fmt.Errorf("%w: this function does not rotate", ErrEvent)
	}
	begin := ctx
	if deadline, ok := ctx.Deadline(); ok {
		limited, cancel := context.WithDeadline(ctx, deadline.Add(-f.margin()))
		defer cancel()
		begin = limited
	}
	rep, err := f.telling(ctx, begin, o)
	if errors.Is(err, context.DeadlineExceeded) && begin.Err() != nil {
		rep.Stopped, err = "its time was up before the first user: "+err.Error(), nil
	}
	if err != nil {
		f.emit(metrics{Errors: 1})
		return nil, err
	}
	res := result(rep)
	res.Stopped, res.Why = begin.Err() != nil, rep.Stopped
	if res.Stopped {
		f.log().Warn("the pass was stopped; the next one continues", "why", rep.Stopped)
	}
	m := metrics{}
	for _, u := range rep.Failed() {
		if !res.Stopped || !errors.Is(u.Err, context.DeadlineExceeded) {
			m.Failed++
		}
	}
	if !res.Stopped && !o.DryRun {
		m.Passes = 1
	}
	if m.Overdue, err = f.overdue(ctx); err != nil {
		f.emit(metrics{Errors: 1})
		return nil, fmt.Errorf("counting who is overdue: %w", err)
	}
	f.emit(m)
	f.log().Info("pass", "users", len(rep.Users), "failed", m.Failed, "overdue", m.Overdue, "stopped", res.Stopped)
	return res, nil
}

// overdue counts who is late, in time for the answer: a function that does not
// answer is ended, with what it keeps in memory.
func (f *Function) overdue(ctx context.Context) (int, error) {
	if f.Overdue == nil {
		return 0, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		limited, cancel := context.WithDeadline(ctx, deadline.Add(-answerTime/2))
		defer cancel()
		ctx = limited
	}
	return f.Overdue(ctx)
}

// telling makes the pass and has told what it met, in time of its own: what
// stopped the pass must not silence it.
func (f *Function) telling(ctx, begin context.Context, o rotate.Options) (rotate.Report, error) {
	if f.Tell == nil || o.DryRun {
		return f.RunOnce(begin, o)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(24 * time.Hour) // Lambda always has one
	}
	limit, cancel := context.WithDeadline(ctx, deadline.Add(-answerTime))
	defer cancel()
	over, end := context.WithCancel(context.Background())
	early := make(chan struct{})
	go func() {
		defer close(early)
		t := time.NewTimer(time.Until(deadline) - answerTime - tellTime)
		defer t.Stop()
		select {
		case <-over.Done():
		case <-t.C:
			f.Tell(limit)
		}
	}()
	defer func() {
		end()
		<-early // two at once would tell everything twice
		f.Tell(limit)
	}()
	return f.RunOnce(begin, o)
}

func (f *Function) margin() time.Duration {
	if f.Margin > 0 {
		return f.Margin
	}
	return defaultMargin
}

func (f *Function) maxAge() time.Duration {
	if f.MaxAge > 0 {
		return f.MaxAge
	}
	return defaultMaxAge
}

func (f *Function) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

func (f *Function) log() *slog.Logger {
	if f.Log != nil {
		return f.Log
	}
	return slog.New(slog.DiscardHandler)
}
