package cursor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Rewinder is a [Consumer] that can make good for what a log that was lost in
// part, or pruned, does not tell. Rewound writes in tx, which also moves the
// cursor to the place from which it goes on. For any other consumer the cursor stops
// there.
type Rewinder interface {
	Rewound(ctx context.Context, tx pgx.Tx, w eventlog.Rewind) error
}

// begin makes the row of a cursor that never ran, at the beginning of the log.
// Of two first starts one inserts, both use it. A log that was pruned has no
// beginning: see [Rewinder].
func (h *holder) begin(ctx context.Context) error {
	start, err := h.reader.Start(ctx)
	rewinder, can := h.cfg.Consumer.(Rewinder)
	switch {
	case errors.Is(err, eventlog.ErrPruned) && can:
		return h.beginOver(ctx, rewinder)
	case err != nil:
		return err
	}
	h.cfg.Hook("start:found")
	if _, err := begin(ctx, h.conn, h.cfg.Name, start); err != nil {
		return err
	}
	return nil
}

func (h *holder) beginOver(ctx context.Context, rewinder Rewinder) error {
	w, err := h.reader.StartOver(ctx, nil)
	if err != nil {
		return err
	}
	var inserted bool
	err = pgx.BeginTxFunc(ctx, h.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if inserted, err = begin(ctx, tx, h.cfg.Name, w.To); err != nil || !inserted {
			return err
		}
		return rewinder.Rewound(ctx, tx, w)
	})
	if err != nil {
		return fmt.Errorf("begin at %s: %w", w.To, err)
	}
	if inserted {
		h.log.WarnContext(ctx, "log was pruned before the first start, beginning at its newest tick, everything is compared with the source", "tick", w.To.Tick)
	}
	return nil
}

// begin stores the first position, unless another has done so.
func begin(ctx context.Context, db execer, name string, at eventlog.Position) (inserted bool, err error) {
	tag, err := db.Exec(ctx, cursorSQL.Begin, append([]any{name}, at.Values()...)...)
	if err != nil {
		return false, fmt.Errorf("store the first position of cursor %s: %w", name, err)
	}
	return tag.RowsAffected() == 1, nil
}

// diverged is called outside of any transaction when the log does not continue
// where the stored position is: cause is [eventlog.ErrLost] or
// [eventlog.ErrPruned]. It returns nil when the holder has a position from
// which it goes on, in h.stored and h.read, and else the error with which the
// cursor stops.
//
// The position is moved like that of a batch, under the fence and in one
// transaction with what the consumer writes: if the process dies before the
// commit, the next one finds the same; after it, nothing is left to be done.
func (h *holder) diverged(ctx context.Context, cause error) error {
	rewinder, can := h.cfg.Consumer.(Rewinder)
	if !can {
		return cause
	}
	w, err := h.reader.Rewind(ctx, h.stored)
	if errors.Is(err, eventlog.ErrLate) {
		// Another host answered, which is late: it has lost nothing.
		_ = pause.For(ctx, h.cfg.Interval)
		return nil
	}
	if err != nil {
		return err
	}
	h.cfg.Hook("rewind:found")
	err = pgx.BeginTxFunc(ctx, h.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		return h.rewind(ctx, tx, rewinder, w)
	})
	if err != nil {
		return fmt.Errorf("go back to %s: %w", w.To, err)
	}
	h.log.WarnContext(ctx, "log does not continue, went back", "err", w.Cause,
		"from_timeline", w.From.Timeline.Ordinal, "from_tick", w.From.Tick, "timeline", w.To.Timeline.Ordinal, "tick", w.To.Tick, "everything", w.Everything)
	now := time.Now()
	h.stored, h.read, h.movedAt, h.seenAt = w.To, w.To, now, now
	h.place.tick.Store(h.stored.Tick)
	return nil
}

func (h *holder) rewind(ctx context.Context, tx pgx.Tx, rewinder Rewinder, w eventlog.Rewind) error {
	if err := h.enter(ctx, tx); err != nil {
		return err
	}
	h.cfg.Hook("rewind:entered")
	if err := rewinder.Rewound(ctx, tx, w); err != nil {
		return fmt.Errorf("make good for what was lost: %w", err)
	}
	if err := h.move(ctx, tx, eventlog.Batch{Next: w.To}); err != nil {
		return err
	}
	h.cfg.Hook("rewind:applied")
	return nil
}

// StartOver moves a cursor to the newest tick of its source, whatever it has
// read before and from wherever, and lets its consumer make good for it, in one
// transaction. Whoever is the active cursor is fenced, and takes over again
// from there. It is for an operator who knows that the source is the right
// one: see [eventlog.ErrForeign].
//
// Errors: [eventlog.ErrNoTicks]; anything else is the databases'.
func StartOver(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, name string, consumer Rewinder) (w eventlog.Rewind, err error) {
	err = pgx.BeginTxFunc(ctx, home, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		w, err = reset(ctx, tx, source, name)
		if err != nil {
			return err
		}
		return consumer.Rewound(ctx, tx, w)
	})
	if err != nil {
		return w, fmt.Errorf("start cursor %s over: %w", name, err)
	}
	return w, nil
}

func reset(ctx context.Context, tx pgx.Tx, source eventlog.DB, name string) (eventlog.Rewind, error) {
	reader := eventlog.NewReader(source, 0)
	// After the batch that is under way, which may hold rows that the consumer
	// wants to write: see enter.
	if _, err := tx.Exec(ctx, lockBatchSQL, name); err != nil {
		return eventlog.Rewind{}, fmt.Errorf("wait for the batch before: %w", err)
	}
	var p eventlog.Position
	err := tx.QueryRow(ctx, cursorSQL.Reset, name).Scan(p.Fields()...)
	if errors.Is(err, pgx.ErrNoRows) {
		w, err := reader.StartOver(ctx, nil)
		if err == nil {
			_, err = begin(ctx, tx, name, w.To)
		}
		return w, err
	}
	if err != nil {
		return eventlog.Rewind{}, fmt.Errorf("read its position: %w", err)
	}
	w, err := reader.StartOver(ctx, &p)
	if err != nil {
		return w, err
	}
	if _, err = tx.Exec(ctx, cursorSQL.Place, append([]any{name}, w.To.Values()...)...); err != nil {
		return w, fmt.Errorf("move to %s: %w", w.To, err)
	}
	return w, nil
}

// execer is a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}
