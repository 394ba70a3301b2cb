// Package deploy installs, updates and removes keyrot's serverless system: the
// artefact bucket, the CloudFormation stack and the e-mail identities. Every
// operation may be repeated: what is there already is left as it is, and what
// a former run left half done is finished or cleared away first.
//
// It knows nothing of keys and users.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/awsanswer"
)

// operation is a method of an SDK's client.
type operation[In, Out, Options any] = func(context.Context, *In, ...func(*Options)) (*Out, error)

type stackOperation[In, Out any] = operation[In, Out, cloudformation.Options]

// StackAPI is the part of CloudFormation that this package calls. It and its
// kin are structs of funcs because a client stored in an interface keeps all
// its methods in the binary.
type StackAPI struct {
	DescribeStacks         stackOperation[cloudformation.DescribeStacksInput, cloudformation.DescribeStacksOutput]
	DescribeStackEvents    stackOperation[cloudformation.DescribeStackEventsInput, cloudformation.DescribeStackEventsOutput]
	DescribeStackResources stackOperation[cloudformation.DescribeStackResourcesInput, cloudformation.DescribeStackResourcesOutput]
	CreateChangeSet        stackOperation[cloudformation.CreateChangeSetInput, cloudformation.CreateChangeSetOutput]
	DescribeChangeSet      stackOperation[cloudformation.DescribeChangeSetInput, cloudformation.DescribeChangeSetOutput]
	DeleteChangeSet        stackOperation[cloudformation.DeleteChangeSetInput, cloudformation.DeleteChangeSetOutput]
	ExecuteChangeSet       stackOperation[cloudformation.ExecuteChangeSetInput, cloudformation.ExecuteChangeSetOutput]
	ContinueUpdateRollback stackOperation[cloudformation.ContinueUpdateRollbackInput, cloudformation.ContinueUpdateRollbackOutput]
	DeleteStack            stackOperation[cloudformation.DeleteStackInput, cloudformation.DeleteStackOutput]
}

// BucketAPI is the part of S3 that this package calls.
type BucketAPI struct {
	HeadBucket           operation[s3.HeadBucketInput, s3.HeadBucketOutput, s3.Options]
	CreateBucket         operation[s3.CreateBucketInput, s3.CreateBucketOutput, s3.Options]
	PutPublicAccessBlock operation[s3.PutPublicAccessBlockInput, s3.PutPublicAccessBlockOutput, s3.Options]
	PutBucketEncryption  operation[s3.PutBucketEncryptionInput, s3.PutBucketEncryptionOutput, s3.Options]
	HeadObject           operation[s3.HeadObjectInput, s3.HeadObjectOutput, s3.Options]
	GetObject            operation[s3.GetObjectInput, s3.GetObjectOutput, s3.Options]
	PutObject            operation[s3.PutObjectInput, s3.PutObjectOutput, s3.Options]
	ListObjectsV2        operation[s3.ListObjectsV2Input, s3.ListObjectsV2Output, s3.Options]
	DeleteObject         operation[s3.DeleteObjectInput, s3.DeleteObjectOutput, s3.Options]
	DeleteBucket         operation[s3.DeleteBucketInput, s3.DeleteBucketOutput, s3.Options]
}

// MailAPI is the part of SES that this package calls.
type MailAPI struct {
	GetAccount          operation[sesv2.GetAccountInput, sesv2.GetAccountOutput, sesv2.Options]
	GetEmailIdentity    operation[sesv2.GetEmailIdentityInput, sesv2.GetEmailIdentityOutput, sesv2.Options]
	CreateEmailIdentity operation[sesv2.CreateEmailIdentityInput, sesv2.CreateEmailIdentityOutput, sesv2.Options]
}

// KeepAPI reads and removes what a stack leaves behind.
type KeepAPI struct {
	GetSecretValue      operation[secretsmanager.GetSecretValueInput, secretsmanager.GetSecretValueOutput, secretsmanager.Options]
	DeleteTable         operation[dynamodb.DeleteTableInput, dynamodb.DeleteTableOutput, dynamodb.Options]
	ScheduleKeyDeletion operation[kms.ScheduleKeyDeletionInput, kms.ScheduleKeyDeletionOutput, kms.Options]
}

// Deployer works on one account and region. Its fields must not change once
// it is used.
type Deployer struct {
	Stacks  StackAPI
	Buckets BucketAPI
	Mail    MailAPI
	Keep    KeepAPI
	Account string
	Region  string
	// Poll is how long to wait between two looks at what AWS is doing.
	// Default 3 s.
	Poll time.Duration
	// Say is told what happens, one line each. Nil: nobody.
	Say func(format string, args ...any)
}

// New returns a Deployer with the SDK configuration as it is.
func New(cfg aws.Config, account string) *Deployer {
	cfg = awsanswer.Require(cfg)
	cfg.APIOptions = append(cfg.APIOptions, middleware.AddUserAgentKey("keyrot"))
	c, m := cloudformation.NewFromConfig(cfg), sesv2.NewFromConfig(cfg)
	b := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil }) // a server without DNS of its own
	return &Deployer{
		Account: account, Region: cfg.Region,
		Stacks: StackAPI{
			DescribeStacks: c.DescribeStacks, DescribeStackEvents: c.DescribeStackEvents, DescribeStackResources: c.DescribeStackResources,
			CreateChangeSet: c.CreateChangeSet, DescribeChangeSet: c.DescribeChangeSet, DeleteChangeSet: c.DeleteChangeSet,
			ExecuteChangeSet: c.ExecuteChangeSet, ContinueUpdateRollback: c.ContinueUpdateRollback, DeleteStack: c.DeleteStack,
		},
		Buckets: BucketAPI{
			HeadBucket: b.HeadBucket, CreateBucket: b.CreateBucket, PutPublicAccessBlock: b.PutPublicAccessBlock,
			PutBucketEncryption: b.PutBucketEncryption, HeadObject: b.HeadObject, GetObject: b.GetObject, PutObject: b.PutObject,
			ListObjectsV2: b.ListObjectsV2, DeleteObject: b.DeleteObject, DeleteBucket: b.DeleteBucket,
		},
		Mail: MailAPI{GetAccount: m.GetAccount, GetEmailIdentity: m.GetEmailIdentity, CreateEmailIdentity: m.CreateEmailIdentity},
		Keep: KeepAPI{
			GetSecretValue:      secretsmanager.NewFromConfig(cfg).GetSecretValue,
			DeleteTable:         dynamodb.NewFromConfig(cfg).DeleteTable,
			ScheduleKeyDeletion: kms.NewFromConfig(cfg).ScheduleKeyDeletion,
		},
	}
}

func (d *Deployer) say(format string, args ...any) {
	if d.Say != nil {
		d.Say(format, args...)
	}
}

// wait pauses between two looks.
func (d *Deployer) wait(ctx context.Context) error {
	poll := d.Poll
	if poll <= 0 {
		poll = 3 * time.Second
	}
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// code is AWS's error code, "" if err is none of AWS's.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// doing says what failed. nil stays.
func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
