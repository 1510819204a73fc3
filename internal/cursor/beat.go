package cursor

import (
	"context"
	"fmt"
	"time"

	"casq/internal/lease"
)

// attend watches the holder from the background: it ends ctx when the lease
// is another's, and shows a sign of life while one step takes long. Steps are
// counted when they begin and when they end, so that an odd number which has
// not changed is a step that lasts. A holder that has nothing to do writes
// nothing, and no process expects it to: see [Cursor.watch].
//
// The beat is written on another connection than the batch; cursorSQL.Beat changes no
// key and meets the batch's own change of the row only for a moment.
func (h *holder) attend(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(h.cfg.Lease / 3)
	defer ticker.Stop()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.lease.Lost():
			cancel(lease.ErrLost)
			return
		case <-ticker.C:
		}
		now := h.steps.Load()
		if now == last && now%2 == 1 {
			if err := h.beat(ctx); err != nil {
				cancel(err)
				return
			}
		}
		last = now
	}
}

// beat returns an error when the epoch is over. It is no error that home does not
// answer: it does not answer others either, or the batch meets the same.
func (h *holder) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Lease/3)
	defer cancel()
	moved, err := h.cfg.Home.Exec(ctx, cursorSQL.Beat, h.cfg.Name, h.epoch)
	if err != nil {
		h.log.DebugContext(ctx, "cannot show a sign of life", "err", err)
		return nil
	}
	if moved.RowsAffected() > 0 {
		return nil
	}
	if err := h.same(ctx, h.cfg.Home, nil); err != nil {
		return fmt.Errorf("show a sign of life: %w", err)
	}
	return nil
}
