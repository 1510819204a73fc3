package git

import (
	"context"

	"casq/transfer"
)

// ListStaging calls each for what is staged at present: see [folder.Root.ListStaging].
// Refs that killed fetches have left in mirrors are not named: the next run on the
// mirror removes them.
func (r *Repositories) ListStaging(ctx context.Context, each func(transfer.Staged) error) error {
	return r.target.ListStaging(ctx, each)
}

// DropStaging deletes the staging of one claim, and returns when it is gone. A
// run that still has that claim is fenced by it. It is no error that the claim has no staging.
func (r *Repositories) DropStaging(ctx context.Context, s transfer.Staged) error {
	return r.target.DropStaging(ctx, s)
}

// Mark reads the target's mark; the zero Mark if it has none.
func (r *Repositories) Mark(context.Context) (transfer.Mark, error) { return r.target.ReadMark() }

// Keep has the mark compared from now on, before and after
// everything that is done to it; create puts it there first. It may be called again,
// with another mark.
func (r *Repositories) Keep(_ context.Context, mark transfer.Mark, create bool) error {
	return r.target.Keep(mark, create)
}

// Retire gives the target up, with a record that tells why: see [folder.Root.Retire].
func (r *Repositories) Retire(_ context.Context, record []byte) error { return r.target.Retire(record) }

// Retired is the record of a target that was given up; nil: it was not.
func (r *Repositories) Retired(context.Context) ([]byte, error) { return r.target.Retired() }
