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

// StackAPI is the part of CloudFormation that this package calls. It and its
// kin are structs of funcs because a client stored in an interface keeps all
// its methods in the binary.
type StackAPI struct {
	DescribeStacks         func(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackEvents    func(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
	DescribeStackResources func(context.Context, *cloudformation.DescribeStackResourcesInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error)
	CreateChangeSet        func(context.Context, *cloudformation.CreateChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.CreateChangeSetOutput, error)
	DescribeChangeSet      func(context.Context, *cloudformation.DescribeChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeChangeSetOutput, error)
	DeleteChangeSet        func(context.Context, *cloudformation.DeleteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteChangeSetOutput, error)
	ExecuteChangeSet       func(context.Context, *cloudformation.ExecuteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.ExecuteChangeSetOutput, error)
	ContinueUpdateRollback func(context.Context, *cloudformation.ContinueUpdateRollbackInput, ...func(*cloudformation.Options)) (*cloudformation.ContinueUpdateRollbackOutput, error)
	DeleteStack            func(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error)
}

// BucketAPI is the part of S3 that this package calls.
type BucketAPI struct {
	HeadBucket           func(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	CreateBucket         func(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	PutPublicAccessBlock func(context.Context, *s3.PutPublicAccessBlockInput, ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error)
	PutBucketEncryption  func(context.Context, *s3.PutBucketEncryptionInput, ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error)
	HeadObject           func(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject            func(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject            func(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectsV2        func(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	DeleteObject         func(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	DeleteBucket         func(context.Context, *s3.DeleteBucketInput, ...func(*s3.Options)) (*s3.DeleteBucketOutput, error)
}

// MailAPI is the part of SES that this package calls.
type MailAPI struct {
	GetAccount          func(context.Context, *sesv2.GetAccountInput, ...func(*sesv2.Options)) (*sesv2.GetAccountOutput, error)
	GetEmailIdentity    func(context.Context, *sesv2.GetEmailIdentityInput, ...func(*sesv2.Options)) (*sesv2.GetEmailIdentityOutput, error)
	CreateEmailIdentity func(context.Context, *sesv2.CreateEmailIdentityInput, ...func(*sesv2.Options)) (*sesv2.CreateEmailIdentityOutput, error)
}

// KeepAPI reads and removes what a stack leaves behind.
type KeepAPI struct {
	GetSecretValue      func(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
	DeleteTable         func(context.Context, *dynamodb.DeleteTableInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteTableOutput, error)
	ScheduleKeyDeletion func(context.Context, *kms.ScheduleKeyDeletionInput, ...func(*kms.Options)) (*kms.ScheduleKeyDeletionOutput, error)
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
