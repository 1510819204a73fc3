package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Verify reads what is in place, and compares its SHA-256 with the payload's, if
// that has one, and with checksum, which is the [Result]'s of the copy or "". If
// neither is known it is compared with the source's bytes. It returns nil,
// [ErrMismatch], [ErrMissing] if it had to read the source and that lacks the
// resource, or why it could not tell. It writes nothing and needs no claim: the
// caller has to check whether the answer still matters.
func (f *Files) Verify(ctx context.Context, place Place, payload json.RawMessage, checksum string) error {
	path, from, err := place.unclaimed()
	if err == nil {
		err = f.verify(ctx, path, from, payload, checksum)
	}
	if err != nil {
		return fmt.Errorf("verify file %q: %w", path, err)
	}
	return nil
}

func (f *Files) verify(ctx context.Context, path, from string, payload json.RawMessage, checksum string) error {
	want, err := expect(payload)
	if err != nil {
		return err
	}
	sums, err := wantedSums(want, checksum)
	if err != nil {
		return err
	}
	if len(sums) == 0 {
		sum, err := f.sumAtSource(ctx, from)
		if err != nil {
			return err
		}
		sums = []wantedSum{{"the source", sum}}
	}
	sum, err := f.sumInPlace(ctx, path)
	if err != nil {
		return err
	}
	for _, want := range sums {
		if !bytes.Equal(want.sum, sum) {
			return fmt.Errorf("%w: SHA-256 is %x in place, %x by %s", ErrMismatch, sum, want.sum, want.by)
		}
	}
	return nil
}

// wantedSum is a SHA-256 and who says so.
type wantedSum struct {
	by  string
	sum []byte
}

func wantedSums(want expectation, checksum string) (sums []wantedSum, err error) {
	if want.sha256 != nil {
		sums = append(sums, wantedSum{"the payload", want.sha256})
	}
	if checksum != "" {
		sum, err := hex.DecodeString(strings.TrimPrefix(checksum, "sha256:"))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("read stored checksum %q: not sha256:<64 hexadecimal digits>", clip(checksum))
		}
		sums = append(sums, wantedSum{"the checksum of its copy", sum})
	}
	return sums, nil
}

// sumAtSource reads a file of the source.
func (f *Files) sumAtSource(ctx context.Context, path string) ([]byte, error) {
	in, err := f.source.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return sumOf(ctx, in, f.pace)
}

// sumInPlace reads what is in place. That is replaced by a rename: the open one
// stays as it is.
func (f *Files) sumInPlace(ctx context.Context, path string) ([]byte, error) {
	if f.bucket != nil {
		return f.bucket.sum(ctx, path, f.pace)
	}
	tree, err := f.target.enter()
	if err != nil {
		return nil, fmt.Errorf("open in place: %w", err)
	}
	defer tree.leave()
	in, err := tree.open(path, fileFlags)
	if absent(err) || errors.Is(err, ErrUnsafe) {
		// Also a link or a folder on the way: the copy that follows is refused with
		// the reason, where everybody can read it.
		return nil, fmt.Errorf("%w: no such file in place: %w", ErrMismatch, err)
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
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrMismatch, in.Name())
	}
	sum, err := sumOf(ctx, in, f.pace)
	if err != nil {
		return nil, fmt.Errorf("read in place: %w", err)
	}
	return sum, nil
}

func sumOf(ctx context.Context, in io.Reader, pace *pace) ([]byte, error) {
	hash := sha256.New()
	buffer := make([]byte, copyBuffer)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := in.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hash.Sum(nil), nil
		}
		if err != nil {
			return nil, err
		}
		if err := pace.wait(ctx, n); err != nil {
			return nil, err
		}
	}
}
