package bucket

import (
	"context"
	"encoding/json"
	"fmt"

	"casq/transfer"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Mark reads the target's mark; the zero Mark if it has none.
func (f *Files) Mark(ctx context.Context) (transfer.Mark, error) { return f.bucket.readMark(ctx) }

// Keep has nothing compared, since a bucket cannot be exchanged under its name; create
// puts the mark there.
func (f *Files) Keep(ctx context.Context, mark transfer.Mark, create bool) error {
	if !create {
		return nil
	}
	return f.bucket.writeMark(ctx, mark)
}

func (b *bucket) readMark(ctx context.Context) (transfer.Mark, error) {
	const key = transfer.StagingRoot + "/" + transfer.MarkName
	text, err := b.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return transfer.Mark{}, nil
	}
	if err != nil {
		return transfer.Mark{}, fmt.Errorf("read the target's mark: %w", transfer.RedactError(err))
	}
	return transfer.ParseMark(text, key)
}

func (b *bucket) writeMark(ctx context.Context, mark transfer.Mark) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	err = b.WriteAll(ctx, transfer.StagingRoot+"/"+transfer.MarkName, append(text, '\n'), &blob.WriterOptions{ContentType: "application/json"})
	if err != nil {
		return fmt.Errorf("mark the bucket as a target: %w", transfer.RedactError(err))
	}
	return nil
}
