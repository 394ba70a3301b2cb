package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// errInjected stands for a network that broke.
var errInjected = errors.New("connection reset by peer")

// fakeAWS behaves like CloudFormation and S3 as far as the deployer looks. An
// operation's events come as scripted, one for each look at the stack.
type fakeAWS struct {
	mu     sync.Mutex
	calls  []string
	failAt int // the number of the call that fails, from 1; 0: none
	failed string

	status   types.StackStatus // "": no stack
	template string
	params   map[string]string
	events   []types.StackEvent // newest first, as AWS lists them
	waiting  []string           // scripted: "Status LogicalId reason"
	script   map[string][]string
	plan     *cloudformation.CreateChangeSetInput
	executed bool
	deletes  []*cloudformation.DeleteStackInput

	bucket  bool
	closed  bool
	sealed  bool
	objects map[string]bool
	note    []byte // the content of the one that is no zip
	n       int
}

func apiError(code, text string) error { return &smithy.GenericAPIError{Code: code, Message: text} }

// begin counts a call, and fails it if it is its turn.
func (f *fakeAWS) begin(name string) error {
	f.calls = append(f.calls, name)
	if len(f.calls) == f.failAt {
		f.failed = name
		return errInjected
	}
	return nil
}

// op makes a func of the SDK's shape.
func op[I, O, P any](f *fakeAWS, name string, do func(*I) (*O, error)) func(context.Context, *I, ...func(*P)) (*O, error) {
	return func(ctx context.Context, in *I, _ ...func(*P)) (*O, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.begin(name); err != nil {
			return nil, err
		}
		return do(in)
	}
}

const stackARN = "arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1"

func (f *fakeAWS) deployer() *deploy.Deployer {
	return &deploy.Deployer{
		Account: "123456789012", Region: "eu-west-1", Poll: 1, Stacks: f.stacks(), Buckets: f.buckets(),
	}
}

// step lets the next scripted event happen.
func (f *fakeAWS) step() {
	if len(f.waiting) == 0 {
		return
	}
	parts := strings.SplitN(f.waiting[0]+"  ", " ", 3)
	f.waiting = f.waiting[1:]
	f.n++
	status, name := parts[0], parts[1]
	if name == "stack" {
		f.status = types.StackStatus(status)
	}
	f.events = slices.Insert(f.events, 0, types.StackEvent{
		EventId: aws.String(fmt.Sprint(f.n)), LogicalResourceId: &name, ResourceType: aws.String("AWS::Any::Thing"),
		ResourceStatus: types.ResourceStatus(status), ResourceStatusReason: aws.String(strings.TrimSpace(parts[2])),
	})
}

func (f *fakeAWS) run(what, byDefault string) {
	if f.waiting = slices.Clone(f.script[what]); f.waiting == nil {
		f.waiting = []string{byDefault}
	}
	if len(f.script[what]) > 0 {
		delete(f.script, what) // the next time it goes well
	}
	first, _, _ := strings.Cut(f.waiting[0], " ")
	if strings.HasSuffix(first, "_IN_PROGRESS") {
		f.step()
	}
}

func (f *fakeAWS) stacks() deploy.StackAPI {
	return deploy.StackAPI{
		DescribeStacks: op[cloudformation.DescribeStacksInput, cloudformation.DescribeStacksOutput, cloudformation.Options](f, "DescribeStacks", func(in *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
			f.step()
			if f.status == "" || f.status == types.StackStatusDeleteComplete && *in.StackName != stackARN {
				return nil, apiError("ValidationError", "Stack with id s does not exist")
			}
			s := types.Stack{StackName: aws.String("s"), StackId: aws.String(stackARN), StackStatus: f.status}
			for k, v := range f.params {
				s.Parameters = append(s.Parameters, types.Parameter{ParameterKey: aws.String(k), ParameterValue: aws.String(v)})
			}
			return &cloudformation.DescribeStacksOutput{Stacks: []types.Stack{s}}, nil
		}),
		DescribeStackEvents: op[cloudformation.DescribeStackEventsInput, cloudformation.DescribeStackEventsOutput, cloudformation.Options](f, "DescribeStackEvents", func(in *cloudformation.DescribeStackEventsInput) (*cloudformation.DescribeStackEventsOutput, error) {
			from := 0 // pages of two
			if in.NextToken != nil {
				_, _ = fmt.Sscan(*in.NextToken, &from)
			}
			out := &cloudformation.DescribeStackEventsOutput{StackEvents: slices.Clone(f.events[from:min(from+2, len(f.events))])}
			if from+2 < len(f.events) {
				out.NextToken = aws.String(fmt.Sprint(from + 2))
			}
			return out, nil
		}),
		DescribeStackResources: op[cloudformation.DescribeStackResourcesInput, cloudformation.DescribeStackResourcesOutput, cloudformation.Options](f, "DescribeStackResources", func(*cloudformation.DescribeStackResourcesInput) (*cloudformation.DescribeStackResourcesOutput, error) {
			return &cloudformation.DescribeStackResourcesOutput{StackResources: []types.StackResource{
				{LogicalResourceId: aws.String("Table"), PhysicalResourceId: aws.String("t"), ResourceStatus: types.ResourceStatusCreateComplete},
				{LogicalResourceId: aws.String("Key"), PhysicalResourceId: aws.String("k"), ResourceStatus: types.ResourceStatusDeleteFailed},
			}}, nil
		}),
		CreateChangeSet: op[cloudformation.CreateChangeSetInput, cloudformation.CreateChangeSetOutput, cloudformation.Options](f, "CreateChangeSet", func(in *cloudformation.CreateChangeSetInput) (*cloudformation.CreateChangeSetOutput, error) {
			fresh := f.status == "" || f.status == types.StackStatusDeleteComplete || f.status == types.StackStatusReviewInProgress
			if fresh != (in.ChangeSetType == types.ChangeSetTypeCreate) {
				return nil, apiError("ValidationError", "Stack is in "+string(f.status)+" state and can not be updated")
			}
			if fresh {
				f.status, f.params, f.template = types.StackStatusReviewInProgress, nil, ""
			}
			f.plan, f.executed = in, false
			return &cloudformation.CreateChangeSetOutput{Id: aws.String("arn:aws:cloudformation:eu-west-1:1:changeSet/" + *in.ChangeSetName + "/2"), StackId: aws.String(stackARN)}, nil
		}),
		DescribeChangeSet: op[cloudformation.DescribeChangeSetInput, cloudformation.DescribeChangeSetOutput, cloudformation.Options](f, "DescribeChangeSet", func(*cloudformation.DescribeChangeSetInput) (*cloudformation.DescribeChangeSetOutput, error) {
			if f.template == *f.plan.TemplateBody && fmt.Sprint(f.params) == fmt.Sprint(values(f.plan)) {
				return &cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusFailed, StatusReason: aws.String("The submitted information didn't contain changes. Submit different information to create a change set.")}, nil
			}
			return &cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusCreateComplete, Changes: []types.Change{
				{ResourceChange: &types.ResourceChange{Action: types.ChangeActionAdd, LogicalResourceId: aws.String("Table"), ResourceType: aws.String("AWS::DynamoDB::Table")}},
			}}, nil
		}),
		DeleteChangeSet: op[cloudformation.DeleteChangeSetInput, cloudformation.DeleteChangeSetOutput, cloudformation.Options](f, "DeleteChangeSet", func(*cloudformation.DeleteChangeSetInput) (*cloudformation.DeleteChangeSetOutput, error) {
			return &cloudformation.DeleteChangeSetOutput{}, nil
		}),
		ExecuteChangeSet: op[cloudformation.ExecuteChangeSetInput, cloudformation.ExecuteChangeSetOutput, cloudformation.Options](f, "ExecuteChangeSet", func(*cloudformation.ExecuteChangeSetInput) (*cloudformation.ExecuteChangeSetOutput, error) {
			word := "UPDATE"
			if f.plan.ChangeSetType == types.ChangeSetTypeCreate {
				word = "CREATE"
			}
			f.status = types.StackStatus(word + "_IN_PROGRESS")
			if len(f.script["execute"]) == 0 {
				f.template, f.params = *f.plan.TemplateBody, values(f.plan)
			}
			f.run("execute", word+"_COMPLETE stack")
			return &cloudformation.ExecuteChangeSetOutput{}, nil
		}),
		ContinueUpdateRollback: op[cloudformation.ContinueUpdateRollbackInput, cloudformation.ContinueUpdateRollbackOutput, cloudformation.Options](f, "ContinueUpdateRollback", func(*cloudformation.ContinueUpdateRollbackInput) (*cloudformation.ContinueUpdateRollbackOutput, error) {
			f.status = types.StackStatusUpdateRollbackInProgress
			f.run("continue", "UPDATE_ROLLBACK_COMPLETE stack")
			return &cloudformation.ContinueUpdateRollbackOutput{}, nil
		}),
		DeleteStack: op[cloudformation.DeleteStackInput, cloudformation.DeleteStackOutput, cloudformation.Options](f, "DeleteStack", func(in *cloudformation.DeleteStackInput) (*cloudformation.DeleteStackOutput, error) {
			f.deletes = append(f.deletes, in)
			f.status = types.StackStatusDeleteInProgress
			f.run("delete", "DELETE_COMPLETE stack")
			return &cloudformation.DeleteStackOutput{}, nil
		}),
	}
}

func values(in *cloudformation.CreateChangeSetInput) map[string]string {
	m := map[string]string{}
	for _, p := range in.Parameters {
		m[*p.ParameterKey] = *p.ParameterValue
	}
	return m
}

func (f *fakeAWS) buckets() deploy.BucketAPI {
	gone := func(there bool, code string) error {
		if there {
			return nil
		}
		return apiError(code, "not there")
	}
	return deploy.BucketAPI{
		HeadBucket: op[s3.HeadBucketInput, s3.HeadBucketOutput, s3.Options](f, "HeadBucket", func(*s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
			return &s3.HeadBucketOutput{}, gone(f.bucket, "NotFound")
		}),
		CreateBucket: op[s3.CreateBucketInput, s3.CreateBucketOutput, s3.Options](f, "CreateBucket", func(*s3.CreateBucketInput) (*s3.CreateBucketOutput, error) {
			f.bucket = true
			return &s3.CreateBucketOutput{}, nil
		}),
		PutPublicAccessBlock: op[s3.PutPublicAccessBlockInput, s3.PutPublicAccessBlockOutput, s3.Options](f, "PutPublicAccessBlock", func(*s3.PutPublicAccessBlockInput) (*s3.PutPublicAccessBlockOutput, error) {
			f.closed = true
			return &s3.PutPublicAccessBlockOutput{}, nil
		}),
		PutBucketEncryption: op[s3.PutBucketEncryptionInput, s3.PutBucketEncryptionOutput, s3.Options](f, "PutBucketEncryption", func(*s3.PutBucketEncryptionInput) (*s3.PutBucketEncryptionOutput, error) {
			f.sealed = true
			return &s3.PutBucketEncryptionOutput{}, nil
		}),
		HeadObject: op[s3.HeadObjectInput, s3.HeadObjectOutput, s3.Options](f, "HeadObject", func(in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
			return &s3.HeadObjectOutput{}, gone(f.objects[*in.Key], "NotFound")
		}),
		GetObject: op[s3.GetObjectInput, s3.GetObjectOutput, s3.Options](f, "GetObject", func(in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
			return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(f.note))}, gone(f.objects[*in.Key], "NoSuchKey")
		}),
		PutObject: op[s3.PutObjectInput, s3.PutObjectOutput, s3.Options](f, "PutObject", func(in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
			if !f.closed || !f.sealed {
				return nil, errors.New("the bucket is open")
			}
			if f.objects == nil {
				f.objects = map[string]bool{}
			}
			f.objects[*in.Key] = true
			if strings.HasSuffix(*in.Key, ".json") {
				f.note, _ = io.ReadAll(in.Body)
			}
			return &s3.PutObjectOutput{}, nil
		}),
		ListObjectsV2: op[s3.ListObjectsV2Input, s3.ListObjectsV2Output, s3.Options](f, "ListObjectsV2", func(in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
			out := &s3.ListObjectsV2Output{}
			for k := range f.objects {
				if strings.HasPrefix(k, *in.Prefix) {
					out.Contents = append(out.Contents, s3types.Object{Key: aws.String(k)})
				}
			}
			return out, gone(f.bucket, "NoSuchBucket")
		}),
		DeleteObject: op[s3.DeleteObjectInput, s3.DeleteObjectOutput, s3.Options](f, "DeleteObject", func(in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
			delete(f.objects, *in.Key)
			return &s3.DeleteObjectOutput{}, nil
		}),
		DeleteBucket: op[s3.DeleteBucketInput, s3.DeleteBucketOutput, s3.Options](f, "DeleteBucket", func(*s3.DeleteBucketInput) (*s3.DeleteBucketOutput, error) {
			f.bucket = false
			return &s3.DeleteBucketOutput{}, nil
		}),
	}
}
