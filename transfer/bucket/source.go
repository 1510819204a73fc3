package bucket

import (
	"context"
	"errors"
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
		return nil, s.readError(ctx, err)
	}
	reader, err := s.bucket.NewReader(ctx, path, nil)
	if err != nil {
		return nil, s.readError(ctx, err)
	}
	return &object{Reader: reader, bucket: s.bucket, path: path, before: before}, nil
}

func (s *Source) readError(ctx context.Context, err error) error {
	if gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("read from bucket: %w", err)
	}
	// Of a bucket that is gone, too: then nothing is known of what it had.
	if there, accessErr := s.bucket.IsAccessible(ctx); accessErr != nil || !there {
		return fmt.Errorf("%w: the bucket is not there: %w", transfer.ErrAway, errors.Join(err, accessErr))
	}
	return fmt.Errorf("%w: %w", transfer.ErrMissing, err)
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
