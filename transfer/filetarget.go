package transfer

import "context"

// ListStaging calls each for what is staged at present, in no order, and ends
// with its first error. It holds one page of names in memory. Staging that comes or
// goes meanwhile may be named or not; each may drop what it is called with. What
// staging would not have made is not named.
//
// A claim is committed before its staging is made. So what is named here, and is
// of no claim that the registry shows afterwards, is a left-over.
func (f *Files) ListStaging(ctx context.Context, each func(Staged) error) error {
	return f.target.listStaging(ctx, each)
}

// DropStaging deletes the staging of one claim, and returns when it is gone. A
// run that still has that claim is fenced by it. It is no error that the claim has no staging.
func (f *Files) DropStaging(ctx context.Context, s Staged) error {
	return f.target.dropStaging(ctx, s)
}

// Mark reads the target's mark; the zero Mark if it has none.
func (f *Files) Mark(context.Context) (Mark, error) { return f.target.readMark() }

// Keep has the mark compared from now on, before and after
// everything that is done to it; create puts it there first. It may be called again,
// with another mark.
func (f *Files) Keep(_ context.Context, mark Mark, create bool) error {
	return f.target.keep(mark, create)
}
