package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

var now = time.Date(2026, 11, 23, 18, 0, 30, 0, time.UTC)

// rotator records what it was asked for.
type rotator struct {
	asked []rotate.Options
	rep   rotate.Report
	err   error
}

func (r *rotator) runOnce(_ context.Context, o rotate.Options) (rotate.Report, error) {
	r.asked = append(r.asked, o)
	return r.rep, r.err
}

func schedule(at time.Time) string {
	return `{"version":"0","id":"x","source":"aws.events","detail-type":"Scheduled Event","account":"1","time":"` +
		at.Format(time.RFC3339) + `","region":"us-east-1","resources":["arn:aws:events:us-east-1:1:rule/t"],"detail":{}}`
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		payload string
		want    *rotate.Options // nil: no pass
		refused bool
	}{
		"a tick":                     {schedule(now.Add(-5 * time.Second)), &rotate.Options{Unattended: true}, false},
		"a tick a minute ago":        {schedule(now.Add(-time.Minute)), &rotate.Options{Unattended: true}, false},
		"a late tick":                {schedule(now.Add(-61 * time.Second)), nil, false},
		"a tick from the future":     {schedule(now.Add(time.Minute)), &rotate.Options{Unattended: true}, false},
		"an operator's order":        {`{"action":"rotate","users":["ann"],"force":true,"wait_seconds":20}`, &rotate.Options{Users: []string{"ann"}, Force: true, Patience: 20 * time.Second}, false},
		"a dry run":                  {`{"action":"rotate","dry_run":true}`, &rotate.Options{DryRun: true}, false},
		"more patience than allowed": {`{"action":"rotate","wait_seconds":7200}`, &rotate.Options{Patience: time.Minute}, false},
		"another action":             {`{"action":"burn"}`, nil, true},
		"another source":             {`{"source":"aws.s3","detail-type":"Object Created"}`, nil, true},
		"an empty object":            {`{}`, nil, true},
		"no object":                  {`[1]`, nil, true},
		"no JSON":                    {`x`, nil, true},
		"users of another type":      {`{"action":"rotate","users":"ann"}`, nil, true},
		"a request for the API":      {`{"httpMethod":"GET","path":"/"}`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r rotator
			f := &Function{RunOnce: r.runOnce, Now: func() time.Time { return now }}
			_, err := f.Invoke(t.Context(), json.RawMessage(c.payload))
			if errors.Is(err, ErrEvent) != c.refused {
				t.Errorf("Invoke = %v, want refused: %t", err, c.refused)
			}
			var want []rotate.Options
			if c.want != nil {
				want = []rotate.Options{*c.want}
			}
			if !reflect.DeepEqual(r.asked, want) {
				t.Errorf("the rotator was asked for %+v, want %+v", r.asked, want)
			}
		})
	}
}

func TestAPIFunctionDoesNotRotate(t *testing.T) {
	t.Parallel()
	f := &Function{API: http.NotFoundHandler(), Now: func() time.Time { return now }}
	for _, payload := range []string{schedule(now), `{"action":"rotate"}`} {
		if _, err := f.Invoke(t.Context(), json.RawMessage(payload)); !errors.Is(err, ErrEvent) {
			t.Errorf("Invoke(%s) = %v, want %v", payload, err, ErrEvent)
		}
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	r := rotator{rep: rotate.Report{Users: []rotate.UserReport{
		{User: "ann", Wait: plan.Step{Reason: plan.NotDue, Wake: now}, Steps: []rotate.Done{
			{Step: plan.Step{Action: plan.Create, KeyID: "AKIAIOSFODNN7EXAMPLE", Reason: "due"}},
			{Step: plan.Step{Action: plan.Verify}, Err: errors.New("slow")},
		}},
		{User: "bob", Err: rotate.ErrForeignKey},
		{}, // not reached
	}}}
	var metrics bytes.Buffer
	f := &Function{
		RunOnce: r.runOnce, Metrics: &metrics, Name: "rotator", Now: func() time.Time { return now },
		Overdue: func(context.Context) (int, error) { return 3, nil },
	}
	got, err := f.Invoke(t.Context(), json.RawMessage(schedule(now)))
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Users: []UserResult{
		{User: "ann", Wait: string(plan.NotDue), Next: now, Steps: []StepResult{
			{Action: "create", Key: "AKIAIOSFODNN7EXAMPLE", Reason: "due"}, {Action: "verify", Error: "slow"},
		}},
		{User: "bob", Error: rotate.ErrForeignKey.Error()},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Invoke = %+v, want %+v", got, want)
	}
	var line map[string]any
	if err := json.Unmarshal(metrics.Bytes(), &line); err != nil || bytes.Count(metrics.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("metrics %q: %v", metrics.Bytes(), err)
	}
	for name, want := range map[string]any{"Passes": 1.0, "Errors": 0.0, "Failed": 1.0, "Overdue": 3.0, "FunctionName": "rotator"} {
		if line[name] != want {
			t.Errorf("metric %s = %v, want %v", name, line[name], want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	var metrics bytes.Buffer
	r := rotator{err: down}
	f := &Function{RunOnce: r.runOnce, Metrics: &metrics}
	if _, err := f.Invoke(t.Context(), json.RawMessage(`{"action":"rotate"}`)); !errors.Is(err, down) {
		t.Errorf("Invoke = %v, want %v", err, down)
	}
	if !strings.Contains(metrics.String(), `"Errors":1`) {
		t.Errorf("metrics = %s", metrics.String())
	}
	r.err = nil
	f.Overdue = func(context.Context) (int, error) { return 0, down }
	if _, err := f.Invoke(t.Context(), json.RawMessage(`{"action":"rotate"}`)); !errors.Is(err, down) {
		t.Errorf("Invoke = %v, want %v", err, down)
	}
	f.RunOnce = func(context.Context, rotate.Options) (rotate.Report, error) { panic("secret") }
	if _, err := f.Invoke(t.Context(), json.RawMessage(`{"action":"rotate"}`)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Invoke after a panic = %v, want an error that says nothing of it", err)
	}
	f.Metrics, f.Overdue, f.RunOnce = broken{}, nil, r.runOnce
	if _, err := f.Invoke(t.Context(), json.RawMessage(`{"action":"rotate"}`)); err != nil {
		t.Errorf("Invoke without metrics = %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

// Nothing new is started within Margin of the deadline, and what is under way
// may finish until then.
func TestDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		var metrics bytes.Buffer
		f := &Function{Metrics: &metrics, RunOnce: func(limited context.Context, _ rotate.Options) (rotate.Report, error) {
			<-limited.Done()
			if got := time.Since(begin); got != 40*time.Second {
				t.Errorf("the pass was stopped after %s, want 40s", got)
			}
			if ctx.Err() != nil {
				t.Error("nothing is left for what is under way")
			}
			return rotate.Report{Users: []rotate.UserReport{{User: "ann", Err: limited.Err()}}}, nil
		}}
		got, err := f.Invoke(ctx, json.RawMessage(schedule(begin)))
		if res, ok := got.(Result); err != nil || !ok || !res.Stopped {
			t.Errorf("Invoke = %+v, %v, want stopped", got, err)
		}
		if m := metrics.String(); !strings.Contains(m, `"Passes":0`) || !strings.Contains(m, `"Failed":0`) {
			t.Errorf("metrics = %s", m)
		}
	})
}

// What a pass met is told in time of its own, however the pass ends.
func TestWhatAPassMetIsTold(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		pass func(ctx, limited context.Context) error
		told []time.Duration // after the beginning
	}{
		"a pass that is done":                 {func(context.Context, context.Context) error { time.Sleep(time.Second); return nil }, []time.Duration{time.Second}},
		"a pass that the deadline stops":      {func(_, limited context.Context) error { <-limited.Done(); return limited.Err() }, []time.Duration{40 * time.Second}},
		"a pass that cannot begin":            {func(context.Context, context.Context) error { return down }, []time.Duration{0}},
		"a pass that ends after its deadline": {func(context.Context, context.Context) error { time.Sleep(55 * time.Second); return nil }, []time.Duration{51 * time.Second, 56 * time.Second}},
		"a pass that does not end in time":    {func(ctx, _ context.Context) error { <-ctx.Done(); return ctx.Err() }, []time.Duration{51 * time.Second, 60 * time.Second}},
		"a pass that panics":                  {func(context.Context, context.Context) error { panic("oh") }, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var told []time.Duration
				begin := time.Now()
				f := &Function{
					RunOnce: func(limited context.Context, _ rotate.Options) (rotate.Report, error) {
						return rotate.Report{}, c.pass(ctx, limited)
					},
					Tell: func(limit context.Context) {
						told = append(told, time.Since(begin))
						if end, ok := limit.Deadline(); !ok || !end.Equal(begin.Add(59*time.Second)) {
							t.Errorf("there is time to tell until %s, want 1 s before the end", end)
						}
						if limit.Err() == nil {
							time.Sleep(5 * time.Second)
						}
					},
				}
				_, _ = f.Invoke(ctx, json.RawMessage(schedule(begin)))
				if !reflect.DeepEqual(told, c.told) {
					t.Errorf("told after %s, want %s", told, c.told)
				}
			})
		})
	}
}

// A table that hangs to the end costs the function its answer at most, not its
// process, which Lambda ends at the deadline with what is kept in memory.
func TestTheAnswerComesInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		var out bytes.Buffer
		f := &Function{
			RunOnce: func(ctx context.Context, _ rotate.Options) (rotate.Report, error) { return rotate.Report{}, hang(ctx) },
			Tell:    func(ctx context.Context) { _ = hang(ctx) },
			Overdue: func(ctx context.Context) (int, error) { return 0, hang(ctx) },
			Metrics: &out,
		}
		begin := time.Now()
		_, err := f.Invoke(ctx, json.RawMessage(schedule(begin)))
		if took := time.Since(begin); err == nil || took >= time.Minute || !strings.Contains(out.String(), `"Errors":1`) {
			t.Errorf("the answer %v came after %s, metrics %s; want an error before the minute is over, and counted", err, took, out.String())
		}
	})
}
