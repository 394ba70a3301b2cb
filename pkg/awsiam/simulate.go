package awsiam

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// KeyActions are the actions on a user that keyrot cannot do without.
var KeyActions = []string{
	"iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:ListAccessKeys", "iam:GetUser", "iam:GetAccessKeyLastUsed",
}

// Self returns the ARN of the identity that this IAM acts as; the ARN of the
// role for a session of one.
func (a *IAM) Self(ctx context.Context) (string, error) {
	out, err := a.API.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", translate("asking who keyrot is", err, nil)
	}
	return roleOf(aws.ToString(out.Arn)), nil
}

// roleOf turns arn:aws:sts::1:assumed-role/NAME/SESSION into the role's ARN, as
// far as the name tells: a path is not in it.
func roleOf(arn string) string {
	head, rest, ok := strings.Cut(arn, ":assumed-role/")
	if !ok {
		return arn
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + name
}

// Denied asks the policy simulator which of KeyActions self may not do on the
// user. Nothing is called for real.
func (a *IAM) Denied(ctx context.Context, self string, u rotate.User) ([]string, error) {
	out, err := a.simulate(ctx, &iam.SimulatePrincipalPolicyInput{
		PolicySourceArn: &self, ActionNames: KeyActions, ResourceArns: []string{u.ARN},
	})
	if err != nil {
		return nil, err
	}
	var denied []string
	for _, r := range out {
		if r.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
			denied = append(denied, aws.ToString(r.EvalActionName))
		}
	}
	return denied, nil
}

// Lacks asks the policy simulator which of the actions self may not do on any
// resource at all. A permission that is limited to some resources may be among
// them, as the simulator is not told which.
func (a *IAM) Lacks(ctx context.Context, self string, actions []string) ([]string, error) {
	out, err := a.simulate(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &self, ActionNames: actions})
	if err != nil {
		return nil, err
	}
	var denied []string
	for _, r := range out {
		if r.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
			denied = append(denied, aws.ToString(r.EvalActionName))
		}
	}
	return denied, nil
}

// SessionsDenied asks the policy simulator whether the user's policies deny a
// request that is signed with temporary credentials, which carry
// aws:TokenIssueTime (IAM User Guide, global condition keys).
func (a *IAM) SessionsDenied(ctx context.Context, u rotate.User) (bool, error) {
	out, err := a.simulate(ctx, &iam.SimulatePrincipalPolicyInput{
		PolicySourceArn: &u.ARN, ActionNames: []string{"sts:GetCallerIdentity", "s3:ListAllMyBuckets"},
		ContextEntries: []types.ContextEntry{{
			ContextKeyName: aws.String("aws:TokenIssueTime"), ContextKeyType: types.ContextKeyTypeEnumDate,
			ContextKeyValues: []string{time.Now().UTC().Format(time.RFC3339)},
		}},
	})
	if err != nil {
		return false, err
	}
	for _, r := range out {
		if r.EvalDecision != types.PolicyEvaluationDecisionTypeExplicitDeny {
			return false, nil
		}
	}
	return len(out) > 0, nil
}

func (a *IAM) simulate(ctx context.Context, in *iam.SimulatePrincipalPolicyInput) ([]types.EvaluationResult, error) {
	if a.API.SimulatePrincipalPolicy == nil {
		return nil, fmt.Errorf("simulating policies: %w", rotate.ErrDenied)
	}
	var all []types.EvaluationResult
	err := pages("simulating policies", func(marker *string) (*string, error) {
		in.Marker = marker
		out, err := a.API.SimulatePrincipalPolicy(ctx, in)
		if err != nil {
			return nil, translate("simulating policies of "+aws.ToString(in.PolicySourceArn), err, rotate.ErrNoUser)
		}
		all = append(all, out.EvaluationResults...)
		return next(out.IsTruncated, out.Marker), nil
	})
	return all, err
}
