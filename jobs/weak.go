package jobs

import (
	"context"

	"casq/transfer"
)

// weak is a [Transfer] whose target cannot be fenced: a write of an earlier run
// that was already on its way may still land after a later one's.
type weak interface {
	// Weak says whether this one's is such a target.
	Weak() bool
	// VerifyAbsent returns [transfer.ErrMismatch] if there is something in place.
	VerifyAbsent(ctx context.Context, place transfer.Place) error
}

// absent compares the place of a tombstone. Where the place is fenced nothing
// can have come back.
func absent(ctx context.Context, mover Transfer, place transfer.Place) error {
	if target, ok := mover.(weak); ok && target.Weak() {
		return target.VerifyAbsent(ctx, place)
	}
	return nil
}
