package cursor

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	//go:embed begin.sql
	beginSQL string
	//go:embed take.sql
	takeSQL string
	//go:embed move.sql
	moveSQL string
)

// holder is the active cursor: a connection of its own, an epoch, and the
// position as it is stored. read runs ahead of stored over ticks that have no
// events of interest; nothing is written for those.
type holder struct {
	*Cursor
	conn    *pgxpool.Conn
	epoch   int64
	stored  eventlog.Position
	read    eventlog.Position
	movedAt time.Time
	seenAt  time.Time // when the session was last known to be there
	late    bool      // said so in the log
}

// hold makes this cursor the active one, or returns nil when another is. The
// session's advisory lock keeps idle cursors from trying; the epoch, which
// every batch compares, is what protects the log.
func (c *Cursor) hold(ctx context.Context) (*holder, error) {
	conn, err := c.cfg.Home.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to home: %w", err)
	}
	h := &holder{Cursor: c, conn: conn, movedAt: time.Now(), seenAt: time.Now()}
	var got bool
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended('casq.cursor.' || $1, 0))", c.cfg.Name).Scan(&got)
	if err == nil && got {
		err = h.take(ctx)
	}
	if err != nil {
		h.release()
		return nil, err
	}
	if !got {
		conn.Release()
		return nil, nil
	}
	return h, nil
}

// take bumps the epoch: from here on no batch of an earlier holder commits.
func (h *holder) take(ctx context.Context) error {
	err := h.load(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		if err := h.begin(ctx); err != nil {
			return err
		}
		err = h.load(ctx)
	}
	if err != nil {
		return fmt.Errorf("take over cursor %s: %w", h.cfg.Name, err)
	}
	h.read = h.stored
	return nil
}

func (h *holder) load(ctx context.Context) error {
	p := &h.stored
	return h.conn.QueryRow(ctx, takeSQL, h.cfg.Name, holderName()).Scan(&h.epoch,
		&p.System, &p.Life.Ordinal, &p.Life.ID, &p.Tick, &p.Mark, &p.ToTick, &p.ToMark, &p.Page)
}

func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// release ends the session, which frees the lock whatever state it is in.
func (h *holder) release() {
	conn := h.conn.Hijack()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// follow applies batches until an error ends it or ctx is done.
func (h *holder) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := h.step(ctx)
		if err != nil {
			return err
		}
		if !more {
			pause(ctx, h.cfg.Interval)
		}
	}
	return nil
}

// step reads one batch and applies it. more tells that another may follow at
// once.
func (h *holder) step(ctx context.Context) (more bool, err error) {
	batch, err := h.reader.Next(ctx, h.read)
	switch {
	case errors.Is(err, eventlog.ErrLate):
		if !h.late {
			h.log.WarnContext(ctx, "source is late, waiting", "err", err)
		}
		h.late = true
		return false, h.alive(ctx)
	case errors.Is(err, eventlog.ErrLost) && h.read != h.stored:
		// Only ticks without events were lost, and nothing came of them.
		h.log.WarnContext(ctx, "source has lost ticks without events, going back", "err", err, "tick", h.stored.Tick)
		h.read = h.stored
		return true, nil
	case errors.Is(err, eventlog.ErrLost), errors.Is(err, eventlog.ErrPruned):
		return true, h.astray(ctx, err)
	case err != nil:
		return false, err
	}
	h.late = false
	// Inside a step even an empty page is stored: it ends the step.
	if len(batch.Events) == 0 && !h.read.InStep() {
		h.read = batch.Next
		if h.read == h.stored || time.Since(h.movedAt) < h.cfg.MoveEvery {
			return false, h.alive(ctx)
		}
	}
	h.cfg.Hook("batch:read")
	if err := h.apply(ctx, batch); err != nil {
		return false, err
	}
	now := time.Now()
	h.stored, h.read, h.movedAt, h.seenAt = batch.Next, batch.Next, now, now
	return true, nil
}

// alive notices, now and then, a session that was ended: its lock is gone, and
// another cursor may be active by now.
func (h *holder) alive(ctx context.Context) error {
	if time.Since(h.seenAt) < h.cfg.Wait {
		return nil
	}
	if err := h.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the session was ended: %w", err)
	}
	h.seenAt = time.Now()
	return nil
}

// apply is one transaction: the fence and the new position first, so that a
// holder that was replaced does no work, then the effects. If it dies before
// the commit, nothing happened; if the answer of the commit is lost, the
// position tells.
func (h *holder) apply(ctx context.Context, batch eventlog.Batch) error {
	return pgx.BeginTxFunc(ctx, h.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		moved, err := h.move(ctx, tx, batch.Next)
		if err != nil {
			return fmt.Errorf("move cursor: %w", err)
		}
		if moved.RowsAffected() == 0 {
			return fmt.Errorf("%w: epoch %d is over, or the position is not %s", ErrFenced, h.epoch, h.stored)
		}
		h.cfg.Hook("batch:moved")
		if err := h.consume(ctx, tx, batch); err != nil {
			return err
		}
		h.cfg.Hook("batch:applied")
		return nil
	})
}

func (h *holder) move(ctx context.Context, tx pgx.Tx, to eventlog.Position) (pgconn.CommandTag, error) {
	return tx.Exec(ctx, moveSQL, h.cfg.Name, h.epoch,
		h.stored.Life.Ordinal, h.stored.Life.ID, h.stored.Tick, h.stored.Mark, h.stored.ToTick, h.stored.Page,
		to.Life.Ordinal, to.Life.ID, to.Tick, to.Mark, to.ToTick, to.ToMark, to.Page, h.stored.ToMark)
}
