package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
)

// unfenced is a [Transfer] whose target cannot be fenced: a write of an earlier run
// that was already on its way may still land after a later one's.
type unfenced interface {
	// Unfenced says whether this one's is such a target.
	Unfenced() bool
	// VerifyAbsent returns [transfer.ErrMismatch] if there is something in place.
	VerifyAbsent(ctx context.Context, place transfer.Place) error
}

// contested is a run on such a target.
type contested interface {
	// Contested says whether an earlier run was found that had not come to its end.
	Contested() bool
}

// lateCheck is when a contested place is checked for the last time. Servers
// have answered, or given up, long before.
const lateCheck = 10 * time.Minute

// fencedTooLate has the place checked now: who finds himself fenced after his
// write may have written over what came later, an hour later if he was frozen.
func (w *Worker) fencedTooLate(ctx context.Context, claim *registry.Claim, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(cause, w.checkLater(ctx, claim.Token, 0))
}

// checkLater queues contested checks of a resource, after each of the times; 0 is
// at once.
func (w *Worker) checkLater(ctx context.Context, token registry.Token, after ...time.Duration) error {
	err := pgx.BeginFunc(ctx, w.cfg.Queue.pool, func(tx pgx.Tx) error {
		for _, d := range after {
			var at time.Time
			if d > 0 {
				at = w.cfg.Queue.clock.Now().Add(d)
			}
			if err := w.cfg.Queue.insertChecks(ctx, tx, []registry.Token{token}, true, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("queue later verifications of %s %q: %w", token.Kind, token.ResourceID, err)
	}
	return nil
}

// absent compares the place of a tombstone. Where the place is fenced nothing
// can have come back.
func absent(ctx context.Context, mover Transfer, place transfer.Place) error {
	if target, ok := mover.(unfenced); ok && target.Unfenced() {
		return target.VerifyAbsent(ctx, place)
	}
	return nil
}
