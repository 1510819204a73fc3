package cursor

import (
	"context"
	"fmt"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// consume gives a batch's events to the consumer, in the batch's transaction
// and after its fence. An error rolls back the batch, its position included.
func (h *holder) consume(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	if len(batch.Events) == 0 {
		return nil
	}
	if err := h.cfg.Consumer.Apply(ctx, tx, batch); err != nil {
		return fmt.Errorf("apply %d events: %w", len(batch.Events), err)
	}
	return nil
}
