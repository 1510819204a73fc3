package file

import (
	"context"

	"casq/transfer"
)

// ListStaging calls each for what is staged at present: see [folder.Root.ListStaging].
func (f *Files) ListStaging(ctx context.Context, each func(transfer.Staged) error) error {
	return f.target.ListStaging(ctx, each)
}

// DropStaging deletes the staging of one claim, and returns when it is gone. A
// run that still has that claim is fenced by it. It is no error that the claim has no staging.
func (f *Files) DropStaging(ctx context.Context, s transfer.Staged) error {
	return f.target.DropStaging(ctx, s)
}

// Mark reads the target's mark; the zero Mark if it has none.
func (f *Files) Mark(context.Context) (transfer.Mark, error) { return f.target.ReadMark() }

// Keep has the mark compared from now on, before and after
// everything that is done to it; create puts it there first. It may be called again,
// with another mark.
func (f *Files) Keep(_ context.Context, mark transfer.Mark, create bool) error {
	return f.target.Keep(mark, create)
}

// Retire gives the target up, with a record that tells why: see [folder.Root.Retire].
func (f *Files) Retire(_ context.Context, record []byte) error { return f.target.Retire(record) }

// Retired is the record of a target that was given up; nil: it was not.
func (f *Files) Retired(context.Context) ([]byte, error) { return f.target.Retired() }
