package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"casq/transfer"
	"casq/transfer/folder"
)

// Verify reads what is in place, and compares its SHA-256 with the payload's, if
// that has one, and with checksum, which is the [transfer.Result]'s of the copy or "". If
// neither is known it is compared with the source's bytes. It returns nil,
// [transfer.ErrMismatch], [transfer.ErrMissing] if it had to read the source and that lacks the
// resource, or why it could not tell. It writes nothing and needs no claim: the
// caller has to check whether the answer still matters.
func (f *Files) Verify(ctx context.Context, place transfer.Place, payload json.RawMessage, checksum string) error {
	path, from, err := place.Unclaimed()
	if err == nil {
		err = transfer.VerifySums(payload, checksum,
			func() ([]byte, error) { return transfer.SumAtSource(ctx, f.source, from, f.pace) },
			func() ([]byte, error) { return f.sumInPlace(ctx, path) })
	}
	if err != nil {
		return fmt.Errorf("verify file %q: %w", path, err)
	}
	return nil
}

// sumInPlace reads what is in place. That is replaced by a rename: the open one
// stays as it is.
func (f *Files) sumInPlace(ctx context.Context, path string) ([]byte, error) {
	tree, err := f.target.Enter()
	if err != nil {
		return nil, fmt.Errorf("open in place: %w", err)
	}
	defer tree.Leave()
	in, err := tree.OpenFile(path)
	if folder.Absent(err) || errors.Is(err, transfer.ErrUnsafe) {
		// Also a link or a folder on the way: the copy that follows is refused with
		// the reason, where everybody can read it.
		return nil, fmt.Errorf("%w: no such file in place: %w", transfer.ErrMismatch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open in place: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the place: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", transfer.ErrMismatch, in.Name())
	}
	sum, err := transfer.Sum(ctx, in, f.pace)
	if err != nil {
		return nil, fmt.Errorf("read in place: %w", err)
	}
	return sum, nil
}
