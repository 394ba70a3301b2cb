//go:build !nosandbox

package sandbox

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// bucket is the storage behind the sandbox's S3: one bucket in memory, with
// the calls a demo makes. All others answer NotImplemented.
type bucket struct {
	backend.BackendUnsupported

	mu      sync.Mutex
	objects map[string]object
}

type object struct {
	body     []byte
	etag     string
	modified time.Time
}

const (
	maxObjects = 1000    // as many as one list call returns
	maxSize    = 1 << 20 // bytes of one object
)

func newBucket() *bucket { return &bucket{objects: map[string]object{}} }

func failure(code s3err.ErrorCode) error { return s3err.GetAPIError(code) }

func exists(name *string) error {
	if aws.ToString(name) != Bucket {
		return failure(s3err.ErrNoSuchBucket)
	}
	return nil
}

// String implements backend.Backend.
func (*bucket) String() string { return "memory" }

// ListBuckets implements backend.Backend.
func (*bucket) ListBuckets(context.Context, s3response.ListBucketsInput) (s3response.ListAllMyBucketsResult, error) {
	return s3response.ListAllMyBucketsResult{Buckets: s3response.ListAllMyBucketsList{
		Bucket: []s3response.ListAllMyBucketsEntry{{Name: Bucket}},
	}}, nil
}

// HeadBucket implements backend.Backend.
func (*bucket) HeadBucket(_ context.Context, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	return &s3.HeadBucketOutput{BucketRegion: aws.String(Region)}, exists(in.Bucket)
}

// GetBucketAcl implements backend.Backend.
func (*bucket) GetBucketAcl(_ context.Context, in *s3.GetBucketAclInput) ([]byte, error) {
	return nobody(), exists(in.Bucket)
}

// GetBucketPolicy implements backend.Backend.
func (*bucket) GetBucketPolicy(context.Context, string) ([]byte, error) {
	return nil, failure(s3err.ErrNoSuchBucketPolicy)
}

// GetBucketCors implements backend.Backend.
func (*bucket) GetBucketCors(context.Context, string) ([]byte, error) {
	return nil, failure(s3err.ErrNoSuchCORSConfiguration)
}

// GetBucketVersioning implements backend.Backend.
func (*bucket) GetBucketVersioning(context.Context, string) (s3response.GetBucketVersioningOutput, error) {
	return s3response.GetBucketVersioningOutput{}, nil
}

// GetObjectLockConfiguration implements backend.Backend.
func (*bucket) GetObjectLockConfiguration(context.Context, string) ([]byte, error) {
	return nil, failure(s3err.ErrObjectLockConfigurationNotFound)
}

// PutObject implements backend.Backend.
func (b *bucket) PutObject(_ context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	body, err := io.ReadAll(io.LimitReader(in.Body, maxSize+1))
	if err != nil {
		return s3response.PutObjectOutput{}, err
	}
	sum := md5.Sum(body) //nolint:gosec // what an ETag is
	o := object{body: body, etag: `"` + hex.EncodeToString(sum[:]) + `"`, modified: time.Now().UTC()}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := aws.ToString(in.Key)
	if _, known := b.objects[key]; len(body) > maxSize || !known && len(b.objects) >= maxObjects {
		return s3response.PutObjectOutput{}, failure(s3err.ErrEntityTooLarge)
	}
	b.objects[key] = o
	return s3response.PutObjectOutput{ETag: o.etag, Size: aws.Int64(int64(len(body)))}, nil
}

func (b *bucket) object(key *string) (object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[aws.ToString(key)]
	if !ok {
		return o, failure(s3err.ErrNoSuchKey)
	}
	return o, nil
}

// HeadObject implements backend.Backend.
func (b *bucket) HeadObject(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	o, err := b.object(in.Key)
	if err != nil {
		return nil, err
	}
	return &s3.HeadObjectOutput{ContentLength: aws.Int64(int64(len(o.body))), ETag: &o.etag, LastModified: &o.modified}, nil
}

// GetObject implements backend.Backend. Ranges are not supported.
func (b *bucket) GetObject(_ context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	o, err := b.object(in.Key)
	if err != nil {
		return nil, err
	}
	return &s3.GetObjectOutput{
		Body:          io.NopCloser(bytes.NewReader(o.body)),
		ContentLength: aws.Int64(int64(len(o.body))),
		ETag:          &o.etag,
		LastModified:  &o.modified,
	}, nil
}

// DeleteObject implements backend.Backend.
func (b *bucket) DeleteObject(_ context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, aws.ToString(in.Key))
	return &s3.DeleteObjectOutput{}, nil
}

// ListObjectsV2 implements backend.Backend. It knows no delimiter and always
// returns everything.
func (b *bucket) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input) (s3response.ListObjectsV2Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := s3response.ListObjectsV2Result{
		Name: in.Bucket, Prefix: in.Prefix, MaxKeys: in.MaxKeys, Delimiter: in.Delimiter, IsTruncated: aws.Bool(false),
	}
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if o := b.objects[key]; strings.HasPrefix(key, aws.ToString(in.Prefix)) {
			out.Contents = append(out.Contents, s3response.Object{
				Key: aws.String(key), ETag: aws.String(o.etag), LastModified: aws.Time(o.modified), Size: aws.Int64(int64(len(o.body))),
			})
		}
	}
	out.KeyCount = aws.Int32(int32(len(out.Contents)))
	return out, nil
}
