package awsiam

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyrot/keyrot/pkg/rotate"
)

func TestRoleOf(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"arn:aws:iam::123456789012:user/admin":                         "arn:aws:iam::123456789012:user/admin",
		"arn:aws:sts::123456789012:assumed-role/keyrot/i-0123":         "arn:aws:iam::123456789012:role/keyrot",
		"arn:aws-us-gov:sts::123456789012:assumed-role/keyrot/session": "arn:aws-us-gov:iam::123456789012:role/keyrot",
	} {
		if got := roleOf(in); got != want {
			t.Errorf("roleOf(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	a := &IAM{API: API{SimulatePrincipalPolicy: func(_ context.Context, in *iam.SimulatePrincipalPolicyInput, _ ...func(*iam.Options)) (*iam.SimulatePrincipalPolicyOutput, error) {
		if in.Marker == nil { // two pages
			return &iam.SimulatePrincipalPolicyOutput{IsTruncated: true, Marker: aws.String("2"), EvaluationResults: []types.EvaluationResult{
				{EvalActionName: aws.String("iam:GetUser"), EvalDecision: types.PolicyEvaluationDecisionTypeAllowed},
			}}, nil
		}
		return &iam.SimulatePrincipalPolicyOutput{EvaluationResults: []types.EvaluationResult{
			{EvalActionName: aws.String("iam:CreateAccessKey"), EvalDecision: types.PolicyEvaluationDecisionTypeImplicitDeny},
		}}, nil
	}}}
	got, err := a.Denied(t.Context(), "arn:aws:iam::1:role/keyrot", rotate.User{Name: "ci", ARN: "arn:aws:iam::1:user/ci"})
	if err != nil || len(got) != 1 || got[0] != "iam:CreateAccessKey" {
		t.Errorf("Denied() = %v, %v, want iam:CreateAccessKey", got, err)
	}
	if guarded, err := a.SessionsDenied(t.Context(), rotate.User{ARN: "arn:aws:iam::1:user/ci"}); err != nil || guarded {
		t.Errorf("SessionsDenied() = %v, %v, want false", guarded, err)
	}
	if _, err := (&IAM{}).Denied(t.Context(), "", rotate.User{}); err == nil {
		t.Error("Denied() without a simulator = nil error")
	}
}
