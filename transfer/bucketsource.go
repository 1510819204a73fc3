package transfer

import (
	"context"
	"fmt"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// BucketSource reads from a bucket.
type BucketSource struct {
	bucket  *blob.Bucket
	address string
}

// OpenBucketSource opens the bucket of a URL.
func OpenBucketSource(ctx context.Context, address string) (*BucketSource, error) {
	opened, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("open file source %q: %w", redact(address), redactError(err))
	}
	return &BucketSource{opened, address}, nil
}

// Check implements [Source].
func (s *BucketSource) Check() error { return nil }

// Close implements [Source].
func (s *BucketSource) Close() error { return s.bucket.Close() }

// Open implements [Source].
func (s *BucketSource) Open(ctx context.Context, path string) (Object, error) {
	if err := checkKey(path); err != nil {
		return nil, err
	}
	before, err := s.bucket.Attributes(ctx, path)
	if err != nil {
		return nil, bucketError(err)
	}
	reader, err := s.bucket.NewReader(ctx, path, nil)
	if err != nil {
		return nil, bucketError(err)
	}
	return &bucketObject{Reader: reader, bucket: s.bucket, path: path, before: before}, nil
}

func bucketError(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return fmt.Errorf("read from bucket: %w", err)
}

type bucketObject struct {
	*blob.Reader
	bucket *blob.Bucket
	path   string
	before *blob.Attributes
}

// Size implements [Object].
func (o *bucketObject) Size() int64 { return o.before.Size }

// Unchanged implements [Object].
func (o *bucketObject) Unchanged(ctx context.Context) error {
	after, err := o.bucket.Attributes(ctx, o.path)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %s vanished while it was read", ErrChanged, o.path)
	}
	if err != nil {
		return fmt.Errorf("read from bucket: %w", err)
	}
	if after.ETag != o.before.ETag || after.Size != o.before.Size ||
		!after.ModTime.Equal(o.before.ModTime) || !o.ModTime().Equal(o.before.ModTime) {
		return fmt.Errorf("%w: %s was replaced while it was read", ErrChanged, o.path)
	}
	return nil
}
