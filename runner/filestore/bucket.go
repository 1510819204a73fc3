package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Bucket is a file store in a bucket.
type Bucket struct{ bucket *blob.Bucket }

// OpenBucket opens a bucket, which has to exist. Its driver is for the program to import.
func OpenBucket(ctx context.Context, address string) (*Bucket, error) {
	opened, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, errors.New("open file store: no bucket can be opened by this URL; buckets are s3://name?region=..., folders are paths")
	}
	there, err := opened.IsAccessible(ctx)
	if err == nil && !there {
		err = errors.New("no such bucket; create it, or correct the name, the region or the endpoint in the URL")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open file store: %w", err), opened.Close())
	}
	return &Bucket{opened}, nil
}

// Close closes the bucket.
func (b *Bucket) Close() error { return b.bucket.Close() }

// Put stores what it reads, to its end, as the object of a new key.
func (b *Bucket) Put(ctx context.Context, key string, content io.Reader) error {
	if err := check(key); err != nil {
		return err
	}
	// Without an end of ctx Close would make an object of what has come.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	object, err := b.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	if _, err := io.Copy(object, content); err != nil {
		cancel()
		_ = object.Close() // an error: ctx has ended
		return err
	}
	return object.Close()
}

// Open opens the object of a key.
func (b *Bucket) Open(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if err := check(key); err != nil {
		return nil, err
	}
	object, err := b.bucket.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%w: %s", fs.ErrNotExist, key)
	}
	if err != nil {
		return nil, err
	}
	return object, nil
}

// Remove deletes the object of a key.
func (b *Bucket) Remove(ctx context.Context, key string) error {
	if err := check(key); err != nil {
		return err
	}
	if err := b.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}
