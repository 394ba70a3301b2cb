package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/deploy"
)

var order = deploy.Order{Name: "s", Template: "template", Parameters: map[string]string{"A": "1"}}

// install is what the command does, in its order.
func install(ctx context.Context, d *deploy.Deployer, o deploy.Order) (deploy.Plan, error) {
	s, fresh, err := d.Ready(ctx, o.Name)
	if err != nil {
		return deploy.Plan{}, err
	}
	if err := d.Upload(ctx, o.Name, deploy.Artefact{Zip: []byte("zip"), Sum: "sum"}); err != nil {
		return deploy.Plan{}, err
	}
	p, err := d.Plan(ctx, s, fresh, o)
	if err != nil || p.Empty() {
		return p, err
	}
	_, err = d.Execute(ctx, p)
	return p, err
}

func remove(ctx context.Context, d *deploy.Deployer, name string) error {
	s, err := d.Stack(ctx, name)
	if err == nil {
		err = d.Delete(ctx, s, false)
	}
	if err != nil && !errors.Is(err, deploy.ErrNoStack) {
		return err
	}
	_, err = d.RemoveArtefacts(ctx, name)
	return err
}

func TestInstallUpdateRemove(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{}
	d := f.deployer()
	if p, err := install(t.Context(), d, order); err != nil || !p.Create || f.status != types.StackStatusCreateComplete || !f.objects["s/sum.zip"] {
		t.Fatalf("install = %+v, %v, stack %s, objects %v", p, err, f.status, f.objects)
	}
	if p, err := install(t.Context(), d, order); err != nil || !p.Empty() {
		t.Errorf("install again = %+v, %v, want an empty plan", p, err)
	}
	changed := order
	changed.Parameters = map[string]string{"A": "2"}
	p, err := install(t.Context(), d, changed)
	if err != nil || p.Create || f.status != types.StackStatusUpdateComplete || len(p.Settings) != 1 || p.Settings[0] != (deploy.Setting{Name: "A", Old: "1", New: "2"}) {
		t.Errorf("update = %+v, %v, stack %s", p, err, f.status)
	}
	if err := remove(t.Context(), d, "s"); err != nil || f.bucket || len(f.objects) > 0 || f.status != types.StackStatusDeleteComplete {
		t.Errorf("remove = %v, bucket %t, objects %v, stack %s", err, f.bucket, f.objects, f.status)
	}
	if err := remove(t.Context(), d, "s"); err != nil {
		t.Errorf("remove again = %v", err)
	}
}

// What is not told anew keeps its value, as long as the template knows it.
func TestPlanKeepsWhatIsNotTold(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{}
	d := f.deployer()
	first := deploy.Order{Name: "s", Template: "x\nParameters:\n  A: {Type: String}\n  B:\n    Type: String\n  C: {Type: Number, Default: 5, MinValue: 1}\n  Gone: {}\n\nResources:\n", Parameters: map[string]string{"A": "1", "B": "2", "C": "5", "Gone": "3"}}
	if _, err := install(t.Context(), d, first); err != nil {
		t.Fatal(err)
	}
	second := deploy.Order{Name: "s", Template: "x\nParameters:\n  A: {Type: String}\n  B:\n    Type: String\n    Default: 1\n  C: {Type: Number, Default: 5, MinValue: 1}\n\nResources:\n  Gone:\n", Parameters: map[string]string{"A": "4"}}
	s, fresh, err := d.Ready(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Plan(t.Context(), s, fresh, second); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range f.plan.Parameters {
		got[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
		if aws.ToBool(p.UsePreviousValue) {
			got[aws.ToString(p.ParameterKey)] += "previous"
		}
	}
	if len(got) != 2 || got["A"] != "4" || got["B"] != "previous" {
		t.Errorf("the plan has the parameters %v, want A=4 and the previous B", got)
	}
}

// Every call fails once, in its turn; the error says what was being done, and
// running the same again ends where an undisturbed run ends.
func TestEveryCallMayFail(t *testing.T) {
	t.Parallel()
	count := func(run func(*fakeAWS) error) int {
		f := &fakeAWS{}
		if err := run(f); err != nil {
			t.Fatal(err)
		}
		return len(f.calls)
	}
	up := func(f *fakeAWS) error { _, err := install(t.Context(), f.deployer(), order); return err }
	for n := 1; n <= count(up); n++ {
		f := &fakeAWS{failAt: n}
		err := up(f)
		if f.failed == "DescribeStackEvents" { // only tells
			if err != nil {
				t.Errorf("call %d, %s, fails: %v, want no harm", n, f.failed, err)
			}
			continue
		}
		if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), ": ") || strings.HasPrefix(err.Error(), errInjected.Error()) {
			t.Errorf("call %d, %s, fails: %v, want what was being done", n, f.failed, err)
		}
		if err := up(f); err != nil || f.status != types.StackStatusCreateComplete || !f.closed || !f.sealed {
			t.Errorf("after call %d, %s, failed: %v, stack %s, want all healed", n, f.failed, err, f.status)
		}
	}
	both := func(f *fakeAWS) error {
		if err := up(f); err != nil {
			return err
		}
		return remove(t.Context(), f.deployer(), "s")
	}
	for n := count(up) + 1; n <= count(both); n++ {
		f := &fakeAWS{failAt: n}
		err := both(f)
		if !errors.Is(err, errInjected) && f.failed != "DescribeStackEvents" {
			t.Errorf("call %d, %s, fails: %v", n, f.failed, err)
		}
		if err := remove(t.Context(), f.deployer(), "s"); err != nil || f.bucket || f.status != types.StackStatusDeleteComplete {
			t.Errorf("after call %d, %s, failed: %v, bucket %t, stack %s", n, f.failed, err, f.bucket, f.status)
		}
	}
}

// The sequences are as CloudFormation sends them.
func TestRollBack(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{script: map[string][]string{"execute": {
		"CREATE_IN_PROGRESS stack User Initiated",
		"CREATE_IN_PROGRESS Table",
		"CREATE_IN_PROGRESS Rotator",
		"CREATE_FAILED Api Resource creation cancelled",
		"CREATE_FAILED Rotator Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [10].",
		"CREATE_FAILED Table Resource creation cancelled",
		"ROLLBACK_IN_PROGRESS stack The following resource(s) failed to create: [Api, Rotator, Table]. Rollback requested by user.",
		"DELETE_COMPLETE Table",
		"ROLLBACK_COMPLETE stack",
	}}}
	d := f.deployer()
	var told []string
	d.Say = func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	_, err := install(t.Context(), d, order)
	if err == nil || !strings.Contains(err.Error(), "ROLLBACK_COMPLETE: Rotator: Specified ReservedConcurrentExecutions") || hint.Of(err) == "" {
		t.Errorf("install = %v, want the first failure's reason and a hint", err)
	}
	events := 0
	for _, line := range told {
		if strings.HasPrefix(line, "  ") {
			events++
		}
	}
	if events != 9 {
		t.Errorf("%d events were told, want each of 9 once: %q", events, told)
	}
	told = nil
	if _, err := install(t.Context(), d, order); err != nil || f.status != types.StackStatusCreateComplete {
		t.Errorf("the same again = %v, stack %s", err, f.status)
	}
	if all := strings.Join(told, "\n"); !strings.Contains(all, "ROLLBACK_COMPLETE, left by a former run") || strings.Contains(all, "ReservedConcurrent") {
		t.Errorf("it told %s", all)
	}
}

func TestStatesOfFormerRuns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status  types.StackStatus
		waiting []string
		deletes int
		end     types.StackStatus
	}{
		{types.StackStatusReviewInProgress, nil, 0, types.StackStatusCreateComplete},
		{types.StackStatusRollbackComplete, nil, 1, types.StackStatusCreateComplete},
		{types.StackStatusRollbackFailed, nil, 1, types.StackStatusCreateComplete},
		{types.StackStatusCreateFailed, nil, 1, types.StackStatusCreateComplete},
		{types.StackStatusDeleteFailed, nil, 1, types.StackStatusCreateComplete},
		{types.StackStatusUpdateRollbackFailed, nil, 0, types.StackStatusUpdateComplete},
		{types.StackStatusUpdateRollbackComplete, nil, 0, types.StackStatusUpdateComplete},
		{types.StackStatusUpdateInProgress, []string{"UPDATE_IN_PROGRESS Rotator", "UPDATE_COMPLETE stack"}, 0, types.StackStatusUpdateComplete},
		{types.StackStatusDeleteInProgress, []string{"DELETE_IN_PROGRESS Rotator", "DELETE_COMPLETE stack"}, 0, types.StackStatusCreateComplete},
		{types.StackStatusRollbackInProgress, []string{"DELETE_COMPLETE Table", "ROLLBACK_COMPLETE stack"}, 1, types.StackStatusCreateComplete},
	} {
		t.Run(string(tc.status), func(t *testing.T) {
			t.Parallel()
			f := &fakeAWS{status: tc.status, waiting: tc.waiting}
			if _, err := install(t.Context(), f.deployer(), order); err != nil || f.status != tc.end || len(f.deletes) != tc.deletes {
				t.Errorf("install = %v, stack %s after %d deletions, want %s after %d", err, f.status, len(f.deletes), tc.end, tc.deletes)
			}
		})
	}
}

func TestDeleteFailed(t *testing.T) {
	t.Parallel()
	script := func() map[string][]string {
		return map[string][]string{"delete": {
			"DELETE_IN_PROGRESS stack User Initiated", "DELETE_FAILED Key You are not authorized to perform this operation.",
			"DELETE_FAILED stack The following resource(s) failed to delete: [Key].",
		}}
	}
	f := &fakeAWS{status: types.StackStatusCreateComplete, script: script()}
	d := f.deployer()
	err := remove(t.Context(), d, "s")
	if err == nil || !strings.Contains(err.Error(), "DELETE_FAILED: Key: You are not authorized") || !strings.Contains(hint.Of(err), "--abandon") {
		t.Fatalf("remove = %v (%s), want the reason and a way out", err, hint.Of(err))
	}
	s, err := d.Stack(t.Context(), "s")
	if err == nil {
		err = d.Delete(t.Context(), s, true)
	}
	last := f.deletes[len(f.deletes)-1]
	if err != nil || len(last.RetainResources) != 1 || last.RetainResources[0] != "Key" {
		t.Errorf("abandon = %v, left behind %v, want the key alone", err, last.RetainResources)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{status: types.StackStatusUpdateInProgress} // for ever
	ctx, cancel := context.WithCancel(t.Context())
	d := f.deployer()
	d.Say = func(string, ...any) { cancel() }
	if _, _, err := d.Ready(ctx, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("Ready = %v, want it interrupted", err)
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{}
	d := f.deployer()
	p, err := d.Plan(t.Context(), deploy.Stack{}, true, order)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(t.Context(), p); err != nil || len(f.deletes) != 1 {
		t.Errorf("Discard = %v, %d stacks deleted, want the empty one gone", err, len(f.deletes))
	}
}

func TestKeptBy(t *testing.T) {
	t.Parallel()
	s := deploy.Stack{ID: stackARN, Outputs: map[string]string{}, Parameters: map[string]string{"ExistingTable": "old", "ExistingKmsKey": "oldkey"}}
	if got := deploy.KeptBy(s, nil); got != (deploy.Kept{Table: "old", Key: "oldkey"}) {
		t.Errorf("KeptBy a stack that took over = %+v", got)
	}
	all := []deploy.Resource{{Logical: "Table", Physical: "t"}, {Logical: "Key", Physical: "k"}, {Logical: "Rotator", Physical: "r"}}
	if got := deploy.KeptBy(s, all); got != (deploy.Kept{Table: "t", Key: "arn:aws:kms:eu-west-1:123456789012:key/k"}) {
		t.Errorf("KeptBy = %+v", got)
	}
	rolledBack := []deploy.Resource{{Logical: "Table", Physical: "t", Status: types.ResourceStatusDeleteComplete}}
	if got := deploy.KeptBy(deploy.Stack{ID: stackARN}, rolledBack); got != (deploy.Kept{}) {
		t.Errorf("KeptBy a stack that was rolled back = %+v, want nothing", got)
	}
	s.Complete(all, "https://lambda")
	if got := s.Outputs[deploy.OutputRotatorURL]; got != "https://lambda/2015-03-31/functions/r/invocations" {
		t.Errorf("Complete = %q", got)
	}
}
