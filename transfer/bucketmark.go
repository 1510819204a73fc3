package transfer

import (
	"context"
	"encoding/json"
	"fmt"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Mark reads the target's mark; the zero Mark if it has none.
func (f *BucketFiles) Mark(ctx context.Context) (Mark, error) { return f.bucket.readMark(ctx) }

// Keep has nothing compared, since a bucket cannot be exchanged under its name; create
// puts the mark there.
func (f *BucketFiles) Keep(ctx context.Context, mark Mark, create bool) error {
	if !create {
		return nil
	}
	return f.bucket.writeMark(ctx, mark)
}

func (b *bucket) readMark(ctx context.Context) (Mark, error) {
	const key = stagingRoot + "/" + markName
	text, err := b.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, fmt.Errorf("read the target's mark: %w", redactError(err))
	}
	return parseMark(text, key)
}

func (b *bucket) writeMark(ctx context.Context, mark Mark) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	err = b.WriteAll(ctx, stagingRoot+"/"+markName, append(text, '\n'), &blob.WriterOptions{ContentType: "application/json"})
	if err != nil {
		return fmt.Errorf("mark the bucket as a target: %w", redactError(err))
	}
	return nil
}
