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

// Retire gives the bucket up as a target: a record tells why, and the mark goes. A write that
// the server was told before may still come.
func (f *Files) Retire(ctx context.Context, record []byte) error {
	const folder = transfer.StagingRoot + "/"
	if err := f.bucket.WriteAll(ctx, folder+transfer.RetiredName, record, &blob.WriterOptions{ContentType: "application/json"}); err != nil {
		return fmt.Errorf("give the bucket up as a target: %w", transfer.RedactError(err))
	}
	return f.bucket.remove(ctx, folder+transfer.MarkName)
}

// Retired is the record of a target that was given up; nil: it was not.
func (f *Files) Retired(ctx context.Context) ([]byte, error) {
	if mark, err := f.bucket.readMark(ctx); err != nil || mark.ID != "" {
		return nil, err
	}
	record, err := f.bucket.ReadAll(ctx, transfer.StagingRoot+"/"+transfer.RetiredName)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read why it is no target any more: %w", transfer.RedactError(err))
	}
	return record, nil
}
