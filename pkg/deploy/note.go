package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ErrNoNote: no removal of this stack is under way.
var ErrNoNote = errors.New("no removal is under way")

// maxNote bounds what is read of a note, in bytes.
const maxNote = 1 << 20

// Note is written before a stack is deleted. Once the stack is gone, nobody
// else knows what it left behind, and whoever goes on with a removal that was
// interrupted must. It holds no secret.
type Note struct {
	Kept
	// Parameters are those of the stack, which has its schedule.
	Parameters map[string]string
}

func noteKey(stack string) string { return stack + "/removal.json" }

// WriteNote keeps the note beside the stack's artefacts; it goes with them.
func (d *Deployer) WriteNote(ctx context.Context, stack string, n Note) error {
	bucket, key := d.Bucket(), noteKey(stack)
	if err := d.ensureBucket(ctx, bucket); err != nil {
		return err
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return doing(err, "writing down what stack %s leaves behind", stack)
	}
	_, err = d.Buckets.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account, Body: bytes.NewReader(raw), ContentType: aws.String("application/json"),
	})
	return doing(err, "writing down in bucket %s what stack %s leaves behind", bucket, stack)
}

// ReadNote returns the note of a removal that has not come to its end.
// ErrNoNote if there is none.
func (d *Deployer) ReadNote(ctx context.Context, stack string) (n Note, err error) {
	bucket, key := d.Bucket(), noteKey(stack)
	out, err := d.Buckets.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account})
	if absent(err) {
		return n, fmt.Errorf("stack %s: %w", stack, ErrNoNote)
	}
	if err != nil {
		return n, doing(err, "looking in bucket %s for what a removal of stack %s left behind", bucket, stack)
	}
	defer func() { _ = out.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(out.Body, maxNote))
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	return n, doing(err, "reading %s in bucket %s", key, bucket)
}

// EraseNote ends the removal: somebody has taken over what was left behind.
func (d *Deployer) EraseNote(ctx context.Context, stack string) error {
	bucket, key := d.Bucket(), noteKey(stack)
	_, err := d.Buckets.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: &d.Account})
	if absent(err) {
		return nil
	}
	return doing(err, "deleting %s from bucket %s", key, bucket)
}
