package workers

import (
	"context"
	"fmt"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

const cursorName = "recorder"

// Apply implements [cursor.Consumer]. It fails as late as it can.
func (r *recorder) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	ids := make([]int64, len(batch.Events))
	for i := range batch.Events {
		ids[i] = batch.Events[i].ID
	}
	if _, err := tx.Exec(ctx, tallySQL.Record, ids, batch.Tick, r.worker, cursorName); err != nil {
		return fmt.Errorf("record %d events: %w", len(ids), err)
	}
	if r.fail.CompareAndSwap(true, false) {
		return errTold
	}
	return nil
}
