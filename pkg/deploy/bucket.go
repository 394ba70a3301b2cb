package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/keyrot/keyrot/internal/bound"
)

// Bucket is the name of the artefact bucket, which all stacks of the account
// and region share.
func (d *Deployer) Bucket() string { return "keyrot-artefacts-" + d.Account + "-" + d.Region }

// ArtefactKey is where the artefact of a stack is kept. It changes with the
// content, or CloudFormation would see no change.
func ArtefactKey(stack string, a Artefact) string { return stack + "/" + a.Sum + ".zip" }

// Upload puts the artefact where CloudFormation finds it. The bucket is made
// if it is missing; its protection is set in any case. Every call names the
// account, so that a bucket of that name which is somebody else's is refused.
func (d *Deployer) Upload(ctx context.Context, stack string, a Artefact) error {
	bucket, key := d.Bucket(), ArtefactKey(stack, a)
	if err := d.ensureBucket(ctx, bucket); err != nil {
		return err
	}
	_, err := d.Buckets.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account})
	if err == nil {
		d.say("function %.12s is there already", a.Sum)
		return nil
	}
	if !absent(err) {
		return doing(err, "looking for %s in bucket %s", key, bucket)
	}
	sum := sha256.Sum256(a.Zip)
	_, err = d.Buckets.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account, Body: bytes.NewReader(a.Zip),
		ContentType: aws.String("application/zip"), ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}, func(o *s3.Options) { o.HTTPClient = bound.Within(o.HTTPClient, bound.Upload) })
	if err != nil {
		return doing(err, "uploading the function to bucket %s", bucket)
	}
	d.say("function %.12s uploaded, %.1f MiB", a.Sum, float64(len(a.Zip))/(1<<20))
	return nil
}

func (d *Deployer) ensureBucket(ctx context.Context, bucket string) error {
	_, err := d.Buckets.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket, ExpectedBucketOwner: &d.Account})
	if err != nil && !absent(err) {
		return doing(err, "looking for bucket %s in account %s", bucket, d.Account)
	}
	if err != nil {
		in := &s3.CreateBucketInput{Bucket: &bucket, ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}
		if d.Region != "us-east-1" { // which S3 refuses to be told
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(d.Region)}
		}
		if _, err := d.Buckets.CreateBucket(ctx, in); err != nil && code(err) != "BucketAlreadyOwnedByYou" {
			return doing(err, "making bucket %s", bucket)
		}
		d.say("bucket %s made", bucket)
	}
	// In any case: a former run may have ended in between.
	if _, err := d.Buckets.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
		Bucket: &bucket, ExpectedBucketOwner: &d.Account,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true),
			RestrictPublicBuckets: aws.Bool(true),
		},
	}); err != nil {
		return doing(err, "closing bucket %s to the public", bucket)
	}
	_, err = d.Buckets.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
		Bucket: &bucket, ExpectedBucketOwner: &d.Account,
		ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256},
		}}},
	})
	return doing(err, "encrypting bucket %s", bucket)
}

// RemoveArtefacts deletes the stack's artefacts, and the bucket if no other
// stack has any there. The note of a removal goes last: until then, the removal
// is not at its end. some: there was anything to delete.
func (d *Deployer) RemoveArtefacts(ctx context.Context, stack string) (some bool, err error) {
	bucket := d.Bucket()
	keys, err := d.artefacts(ctx, bucket, stack+"/")
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, doing(err, "listing bucket %s", bucket)
	}
	slices.SortFunc(keys, func(a, b string) int { return noteLast(stack, a) - noteLast(stack, b) })
	some = len(keys) > 0
	for _, key := range keys {
		if _, err := d.Buckets.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account}); err != nil {
			return some, doing(err, "deleting %s from bucket %s", key, bucket)
		}
	}
	d.say("%d artefacts deleted", len(keys))
	left, err := d.artefacts(ctx, bucket, "")
	if absent(err) { // another removal was faster
		return some, nil
	}
	if err != nil {
		return some, doing(err, "listing bucket %s", bucket)
	}
	if len(left) > 0 {
		d.say("bucket %s stays: other stacks have %d artefacts there", bucket, len(left))
		return some, nil
	}
	if _, err := d.Buckets.DeleteBucket(ctx,
		&s3.DeleteBucketInput{Bucket: &bucket, ExpectedBucketOwner: &d.Account}); err != nil && !absent(err) {
		return some, doing(err, "deleting bucket %s", bucket)
	}
	d.say("bucket %s deleted", bucket)
	return true, nil
}

func noteLast(stack, key string) int {
	if key == noteKey(stack) {
		return 1
	}
	return 0
}

func (d *Deployer) artefacts(ctx context.Context, bucket, prefix string) ([]string, error) {
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, ExpectedBucketOwner: &d.Account}
	var keys []string
	for {
		out, err := d.Buckets.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
		if !aws.ToBool(out.IsTruncated) {
			return keys, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

// absent reports whether S3 says that there is no such bucket or object.
// HEAD answers have no body, so no code of their own.
func absent(err error) bool {
	switch code(err) {
	case "NotFound", "NoSuchBucket", "NoSuchKey", "404":
		return true
	}
	return false
}
