package transfer

import (
	"context"
	"errors"
	"fmt"

	"gocloud.dev/gcerrors"
)

// sum reads an object. What replaces it meanwhile is not seen: a server sends
// one version to each reader.
func (b *bucket) sum(ctx context.Context, key string, pace *pace) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	in, err := b.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		// Of a bucket that is gone, too; that is no reason to copy everything again.
		if there, accessErr := b.IsAccessible(ctx); accessErr != nil || !there {
			return nil, errors.Join(fmt.Errorf("open in place: %w", err), accessErr)
		}
		return nil, fmt.Errorf("%w: no such object in place: %w", ErrMismatch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open in place: %w", err)
	}
	defer in.Close()
	sum, err := sumOf(ctx, in, pace)
	if err != nil {
		return nil, fmt.Errorf("read in place: %w", err)
	}
	return sum, nil
}

// VerifyAbsent checks whether something is in the place of what was removed, and
// returns [ErrMismatch] then. Only in a bucket can that come back, so nothing else
// is checked.
func (f *Files) VerifyAbsent(ctx context.Context, place Place) error {
	path, _, err := place.unclaimed()
	if err != nil || f.bucket == nil || checkKey(path) != nil {
		return err // nothing can be there under such a key
	}
	there, err := f.bucket.has(ctx, path)
	if err == nil && there {
		err = fmt.Errorf("%w: it is in place, and was removed", ErrMismatch)
	}
	if err != nil {
		return fmt.Errorf("verify file %q: %w", path, err)
	}
	return nil
}
