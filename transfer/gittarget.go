package transfer

import "context"

// ListStaging is that of [Files]. Refs that killed fetches have left in mirrors
// are not named: the next run on the mirror removes them.
func (r *Repositories) ListStaging(ctx context.Context, each func(Staged) error) error {
	return r.target.listStaging(ctx, each)
}

// DropStaging is that of [Files].
func (r *Repositories) DropStaging(ctx context.Context, s Staged) error {
	return r.target.dropStaging(ctx, s)
}

// Mark is that of [Files].
func (r *Repositories) Mark(context.Context) (Mark, error) { return r.target.readMark() }

// Keep is that of [Files].
func (r *Repositories) Keep(_ context.Context, mark Mark, create bool) error {
	return r.target.keep(mark, create)
}
