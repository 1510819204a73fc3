package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"casq/transfer"

	"gocloud.dev/gcerrors"
)

// sum reads an object. What replaces it meanwhile is not seen: a server sends
// one version to each reader.
func (b *bucket) sum(ctx context.Context, key string, pace *transfer.Pace) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	in, err := b.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		// Of a bucket that is gone, too; that is no reason to copy everything again.
		if there, accessErr := b.IsAccessible(ctx); accessErr != nil || !there {
			return nil, errors.Join(fmt.Errorf("open in place: %w", err), accessErr)
		}
		return nil, fmt.Errorf("%w: no such object in place: %w", transfer.ErrMismatch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open in place: %w", err)
	}
	defer in.Close()
	sum, err := transfer.Sum(ctx, in, pace)
	if err != nil {
		return nil, fmt.Errorf("read in place: %w", err)
	}
	return sum, nil
}

// Verify reads what is in place, and compares its SHA-256 with the payload's, if
// that has one, and with checksum, which is the [transfer.Result]'s of the copy or "". If
// neither is known it is compared with the source's bytes.
func (f *Files) Verify(ctx context.Context, place transfer.Place, payload json.RawMessage, checksum string) error {
	path, from, err := place.Unclaimed()
	if err == nil {
		err = transfer.VerifySums(payload, checksum,
			func() ([]byte, error) { return transfer.SumAtSource(ctx, f.source, from, f.pace) },
			func() ([]byte, error) { return f.bucket.sum(ctx, path, f.pace) })
	}
	if err != nil {
		return fmt.Errorf("verify file %q: %w", path, err)
	}
	return nil
}

// VerifyAbsent checks whether something is in the place of what was removed, and
// returns [transfer.ErrMismatch] then. Only in a bucket can that come back.
func (f *Files) VerifyAbsent(ctx context.Context, place transfer.Place) error {
	path, _, err := place.Unclaimed()
	if err != nil || checkKey(path) != nil {
		return err // nothing can be there under such a key
	}
	there, err := f.bucket.has(ctx, path)
	if err == nil && there {
		err = fmt.Errorf("%w: it is in place, and was removed", transfer.ErrMismatch)
	}
	if err != nil {
		return fmt.Errorf("verify file %q: %w", path, err)
	}
	return nil
}
