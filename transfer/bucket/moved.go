package bucket

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"casq/transfer"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// asides has what was put aside: copies of what is to become another key's, and whose own
// place another resource has got. It is no staging of any claim.
const asides = transfer.StagingRoot + "/moved/"

// setAside puts what is in place aside, under the name of an incarnation, where that has
// not been done. The place stays as it is.
//
// Nothing fences it: a copy that the server was told to make, and has not answered, may
// still be made when the place has other bytes. Whoever uses what was put aside compares
// it with the SHA-256 of what is wanted.
func (r *bucketRun) setAside(ctx context.Context, incarnation int64) error {
	name := asides + transfer.AsideName(r.path, incarnation)
	there, err := r.bucket.has(ctx, name)
	if err != nil || there {
		return err
	}
	err = r.bucket.copyWithin(ctx, name, r.path, "")
	if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("put aside what is in place: %w", err)
	}
	return nil
}

// copyWithin has the server copy an object, if it has the ETag then; "": whatever it has.
func (b *bucket) copyWithin(ctx context.Context, to, from, etag string) error {
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	var input *s3.CopyObjectInput
	return b.Copy(ctx, to, from, &blob.CopyOptions{BeforeCopy: func(as func(any) bool) error {
		if etag != "" && as(&input) {
			input.CopySourceIfMatch = &etag
		}
		return nil
	}})
}

// move stages the copy of this very resource that is in place under the key that it had, or
// was put aside: the server copies it, and it is read and compared with the SHA-256 that
// the event names. What differs in any way, or what the server does not copy, is no error:
// it is fetched from the source.
func (r *bucketRun) move(ctx context.Context, want transfer.Expectation) (result transfer.Result, moved bool, err error) {
	if r.base == nil || want.SHA256 == nil {
		return result, false, nil
	}
	aside := asides + transfer.AsideName(r.base.Path, r.base.Incarnation)
	// Before another resource takes the place, what is there is put aside: it is there, or
	// was put aside before it was looked for again.
	for _, from := range []string{aside, r.base.Path, aside} {
		result, err = r.stageCopy(ctx, from, want)
		switch {
		case err == nil:
			return result, true, nil
		case ctx.Err() != nil:
			return result, false, context.Cause(ctx)
		case errors.Is(err, transfer.ErrFenced):
			return result, false, err
		case errors.Is(err, errUnanswered):
			// It may still be made, under the name that another try would use.
			r.base = nil
			return result, false, nil
		}
	}
	return result, false, nil
}

var (
	errUnanswered = errors.New("the server has not answered")
	errOther      = errors.New("it has other bytes")
)

func (r *bucketRun) stageCopy(ctx context.Context, from string, want transfer.Expectation) (result transfer.Result, err error) {
	name := r.key(stagedMoved)
	r.moving = true
	switch err := r.bucket.copyWithin(ctx, name, from, ""); {
	case err == nil:
	case gcerrors.Code(err) == gcerrors.NotFound:
		return result, err
	default:
		return result, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	in, err := (&Source{bucket: r.bucket.Bucket}).open(ctx, name)
	if err != nil {
		return result, err
	}
	defer in.Close()
	if err := errors.Join(want.Fits(in.Size()), r.limit.Fits(in.Size())); err != nil {
		return result, err
	}
	sum, err := transfer.Sum(ctx, in, r.files.pace)
	if err != nil {
		return result, err
	}
	if !bytes.Equal(sum, want.SHA256) {
		return result, errOther
	}
	// Who has begun meanwhile has deleted it, or will.
	if err := errors.Join(in.Unchanged(ctx), r.check(ctx)); err != nil {
		return result, err
	}
	r.name, r.etag = stagedMoved, in.before.ETag
	return transfer.Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size(), Held: in.Size()}, nil
}

// ListAside returns the names of what was put aside.
func (f *Files) ListAside(ctx context.Context) (names []string, err error) {
	err = f.bucket.each(ctx, asides, func(key string) error {
		names = append(names, strings.TrimPrefix(key, asides))
		return nil
	})
	return names, err
}

// DropAside deletes what was put aside.
func (f *Files) DropAside(ctx context.Context, name string) error {
	return f.bucket.remove(ctx, asides+name)
}
