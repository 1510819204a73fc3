package cursor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/database"
	"casq/internal/lease"

	"github.com/jackc/pgx/v5"
)

// anyEpoch is for who has the lease: whoever the row names, it is over.
const anyEpoch = -1

// hold takes over, on a connection of its own. It returns nil when another was
// faster, which has raised the epoch. On nil or an error the lease is
// released.
func (c *Cursor) hold(ctx context.Context, held *lease.Lease, epoch int64) (*holder, error) {
	h := &holder{Cursor: c, lease: held, since: time.Now(), movedAt: time.Now(), seenAt: time.Now()}
	conn, err := c.cfg.Home.Acquire(ctx)
	if err != nil {
		h.release(ctx, nil)
		return nil, fmt.Errorf("connect to home: %w", err)
	}
	h.conn = conn
	ok, err := h.take(ctx, epoch)
	if err != nil || !ok {
		h.release(ctx, nil)
		return nil, err
	}
	return h, nil
}

// take ends the session of the holder before and raises the epoch: from here on
// no batch of an earlier holder commits. It may be repeated: the answer that
// was lost leaves a row whose session is over, which anybody may take.
func (h *holder) take(ctx context.Context, epoch int64) (ok bool, err error) {
	before, err := h.readRow(ctx, h.conn)
	if errors.Is(err, pgx.ErrNoRows) {
		if err := h.begin(ctx); err != nil {
			return false, err
		}
		before, err = h.readRow(ctx, h.conn)
	}
	if err != nil {
		return false, err
	}
	if epoch != anyEpoch && epoch != before.epoch {
		return false, nil
	}
	h.end(ctx, before)
	h.cfg.Hook("take:ended")
	started, err := h.started(ctx)
	if err != nil {
		return false, err
	}
	err = h.conn.QueryRow(ctx, cursorSQL.Take, h.cfg.Name, h.leaser.ID(), before.epoch, started).Scan(append([]any{&h.epoch}, h.stored.Fields()...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take over cursor %s: %w", h.cfg.Name, err)
	}
	h.read = h.stored
	h.place.epoch.Store(h.epoch)
	h.place.tick.Store(h.stored.Tick)
	return true, nil
}

// end ends a holder's session, so that a process that is frozen in a
// transaction, or in the middle of COPY, holds no locks any more. Where it may
// not, the sessions' idle time-out is what is left.
func (h *holder) end(ctx context.Context, before cursorRow) {
	if !before.alive || before.started == nil {
		return
	}
	batch := &pgx.Batch{}
	batch.Queue(cursorSQL.AsLogin)
	batch.Queue(cursorSQL.End, before.pid, before.started)
	if err := h.conn.SendBatch(ctx, batch).Close(); err != nil {
		h.log.WarnContext(ctx, "cannot end the session of the holder before", "session", *before.pid,
			"code", database.Code(err), "err", err)
	}
}

// started is when the holder's own session has begun.
func (h *holder) started(ctx context.Context) (at *time.Time, err error) {
	batch := &pgx.Batch{}
	batch.Queue(cursorSQL.AsLogin)
	batch.Queue(cursorSQL.Started).QueryRow(func(row pgx.Row) error { return row.Scan(&at) })
	if err := h.conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("read the start of the holder's session: %w", err)
	}
	return at, nil
}
