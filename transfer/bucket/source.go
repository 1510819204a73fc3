package bucket

import (
	"context"
	"fmt"

	"casq/transfer"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Source reads from a bucket.
type Source struct {
	bucket  *blob.Bucket
	address string
}

// OpenSource opens the bucket of a URL.
func OpenSource(ctx context.Context, address string) (*Source, error) {
	opened, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("open file source %q: %w", transfer.Redact(address), transfer.RedactError(err))
	}
	return &Source{opened, address}, nil
}

// Check implements [transfer.Source].
func (s *Source) Check() error { return nil }

// Close implements [transfer.Source].
func (s *Source) Close() error { return s.bucket.Close() }

// Open implements [transfer.Source].
func (s *Source) Open(ctx context.Context, path string) (transfer.Object, error) {
	o, err := s.open(ctx, path)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (s *Source) open(ctx context.Context, path string) (*object, error) {
	if err := checkKey(path); err != nil {
		return nil, err
	}
	before, err := s.bucket.Attributes(ctx, path)
	if err != nil {
		return nil, readError(err)
	}
	reader, err := s.bucket.NewReader(ctx, path, nil)
	if err != nil {
		return nil, readError(err)
	}
	return &object{Reader: reader, bucket: s.bucket, path: path, before: before}, nil
}

func readError(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %w", transfer.ErrMissing, err)
	}
	return fmt.Errorf("read from bucket: %w", err)
}

type object struct {
	*blob.Reader
	bucket *blob.Bucket
	path   string
	before *blob.Attributes
}

// Size implements [transfer.Object].
func (o *object) Size() int64 { return o.before.Size }

// Unchanged implements [transfer.Object].
func (o *object) Unchanged(ctx context.Context) error {
	after, err := o.bucket.Attributes(ctx, o.path)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %s vanished while it was read", transfer.ErrChanged, o.path)
	}
	if err != nil {
		return fmt.Errorf("read from bucket: %w", err)
	}
	if after.ETag != o.before.ETag || after.Size != o.before.Size ||
		!after.ModTime.Equal(o.before.ModTime) || !o.ModTime().Equal(o.before.ModTime) {
		return fmt.Errorf("%w: %s was replaced while it was read", transfer.ErrChanged, o.path)
	}
	return nil
}
