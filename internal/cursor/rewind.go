package cursor

import (
	"context"
	"fmt"
)

// begin makes the row of a cursor that never ran, at the beginning of the log
// as far as it was not pruned. Of two first starts one inserts, both use it.
func (h *holder) begin(ctx context.Context) error {
	start, err := h.reader.Start(ctx)
	if err != nil {
		return err
	}
	h.cfg.Hook("start:found")
	_, err = h.conn.Exec(ctx, beginSQL, h.cfg.Name, start.System, start.Life.Ordinal, start.Life.ID, start.Tick, start.Mark)
	if err != nil {
		return fmt.Errorf("store the first position of cursor %s: %w", h.cfg.Name, err)
	}
	return nil
}

// astray is called outside of any transaction when the log does not continue
// where the stored position is: err is [eventlog.ErrLost] or
// [eventlog.ErrPruned]. It returns nil when the holder has a position from
// which it goes on, in h.stored and h.read, and else the error with which the
// cursor stops.
func (h *holder) astray(_ context.Context, err error) error { return err }
