package cursor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/lease"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const lockBatchSQL = "SELECT pg_advisory_xact_lock(hashtextextended('casq.cursor.batch.' || $1, 0))"

// holder is the active cursor: a connection of its own, an epoch, and the
// position as it is stored. read runs ahead of stored over ticks that have no
// events of interest; nothing is written for those.
type holder struct {
	*Cursor
	lease   *lease.Lease // nil where no Redis is configured
	conn    *pgxpool.Conn
	epoch   int64
	stored  eventlog.Position
	read    eventlog.Position
	since   time.Time
	movedAt time.Time
	seenAt  time.Time // when the session was last known to be there
	late    bool      // said so in the log
	newest  freshness // of the source's ticks
	current bool      // all was applied when the newest one was new
	events  int64     // applied so far
	steps   atomic.Int64
}

// follow applies batches until an error ends it or ctx is done.
func (h *holder) follow(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	group.Go(func() { h.attend(ctx, cancel) })
	ticked := make(chan struct{}, 1)
	if h.cfg.Listens {
		group.Go(func() { eventlog.Listen(ctx, h.cfg.Home, h.log, func() { announce(ticked) }) })
	}
	defer group.Wait()
	defer cancel(nil)
	for ctx.Err() == nil {
		h.steps.Add(1)
		more, err := h.step(ctx)
		h.steps.Add(1)
		if err != nil {
			return h.explain(outer, ctx, err)
		}
		if !more {
			h.await(ctx, ticked)
		}
	}
	return context.Cause(ctx)
}

// announce has the holder that waits, or is about to, read on.
func announce(ticked chan<- struct{}) {
	select {
	case ticked <- struct{}{}:
	default: // it will
	}
}

// await returns when a tick was announced, or may have been taken.
func (h *holder) await(ctx context.Context, ticked <-chan struct{}) {
	poll := time.NewTimer(h.cfg.Interval)
	defer poll.Stop()
	select {
	case <-ctx.Done():
	case <-ticked:
	case <-poll.C:
	}
}

// explain tells a holder that was replaced from one that met an error: the one
// that replaces it has ended its session, which nothing tells from any other end. inner
// is done when the background has ended the step.
func (h *holder) explain(outer, inner context.Context, err error) error {
	if errors.Is(err, ErrFenced) || stops(err) {
		return err
	}
	cause := context.Cause(inner)
	if outer.Err() != nil || errors.Is(cause, ErrFenced) {
		return cause
	}
	ctx, cancel := context.WithTimeout(outer, time.Second)
	defer cancel()
	if fenced := h.same(ctx, h.cfg.Home, err); errors.Is(fenced, ErrFenced) {
		return fenced
	}
	if cause != nil {
		return cause
	}
	return err
}

// release ends the session, whatever state it is in, and releases the lease.
// The session first: nothing of this holder is then left for the next one to
// wait for. ctx may be done.
func (h *holder) release(ctx context.Context, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if h.conn != nil {
		if h.newest.told { // nobody reads on from here
			_ = h.storeLag(ctx, false, 0) // else the row's last sign of life tells
		}
		_ = h.conn.Hijack().Close(ctx) // gone is gone
	}
	if why != nil && !errors.Is(why, ErrFenced) && !errors.Is(why, lease.ErrLost) && !errors.Is(why, context.Canceled) {
		h.say(ctx, why)
	}
	if err := h.lease.Release(context.WithoutCancel(ctx)); err != nil {
		h.leaseLog.WarnContext(ctx, "cannot release the lease, it stands until it expires", "err", err)
	}
}

// say stores what is wrong, for operators; nil: nothing.
func (h *holder) say(ctx context.Context, why error) {
	var text *string
	if why != nil {
		text = new(database.Text(database.Explain(why), 0))
	}
	if _, err := h.cfg.Home.Exec(ctx, cursorSQL.LastError, h.cfg.Name, h.epoch, text); err != nil {
		h.log.DebugContext(ctx, "cannot store the error", "err", err)
	}
}

// step reads one batch and applies it. more tells that another may follow at
// once.
func (h *holder) step(ctx context.Context) (more bool, err error) {
	size := h.portion.Size()
	batch, err := h.reader.NextWithin(ctx, h.read, size.Rows, size.Bytes)
	h.less(ctx, err)
	switch {
	case errors.Is(err, eventlog.ErrLate):
		if !h.late {
			h.log.WarnContext(ctx, "source is late, waiting", "err", err)
			h.say(ctx, err)
		}
		h.late = true
		return false, h.alive(ctx)
	case errors.Is(err, eventlog.ErrLost) && h.read != h.stored:
		// Only ticks without events were lost, and nothing came of them.
		h.log.WarnContext(ctx, "source has lost ticks without events, going back", "err", err)
		h.read = h.stored
		return true, nil
	case errors.Is(err, eventlog.ErrLost), errors.Is(err, eventlog.ErrPruned):
		return true, h.diverged(ctx, err)
	case err != nil:
		return false, err
	}
	if h.late {
		h.late = false
		h.say(ctx, nil)
	}
	h.newest.saw(batch.Timeline, batch.Tick, time.Now())
	// Inside a step even an empty page is stored: it ends the step.
	if len(batch.Events) == 0 && !h.read.InStep() {
		h.read, h.current = batch.Next, h.newest.known()
		if h.read == h.stored || time.Since(h.movedAt) < h.cfg.MoveEvery {
			return false, h.alive(ctx)
		}
	}
	h.cfg.Hook("batch:read")
	err = h.apply(ctx, batch)
	h.less(ctx, err)
	if err != nil {
		return false, err
	}
	h.cfg.Applied(batch)
	h.portion.Did(nil)
	now := time.Now()
	h.stored, h.read, h.movedAt, h.seenAt = batch.Next, batch.Next, now, now
	h.events += int64(len(batch.Events))
	if !batch.Next.InStep() {
		h.current = h.newest.known()
	}
	h.newest.told = h.newest.told && len(batch.Events) == 0
	h.place.tick.Store(h.stored.Tick)
	return true, nil
}

// less has the next batch be a smaller one, whoever comes to it, if this one may
// have been too large.
func (h *holder) less(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrFenced) || !h.portion.Did(err) {
		return
	}
	size := h.portion.Size()
	h.log.WarnContext(ctx, "batch may have been too large, trying a smaller one", "events", size.Rows, "bytes", size.Bytes)
}

// alive notices, now and then, a session that was ended, and an epoch that is
// over; and tells how old the log is of which there is nothing to apply.
func (h *holder) alive(ctx context.Context) error {
	if time.Since(h.seenAt) < h.cfg.Wait {
		return nil
	}
	if err := h.same(ctx, h.conn, nil); err != nil {
		return err
	}
	h.seenAt = time.Now()
	return h.tellLag(ctx, h.seenAt)
}

// apply is one transaction: the fence is read, so that a holder that was
// replaced does no work; then come the effects, and the fence itself with the new
// position. If it dies before the commit, nothing happened; if the answer of
// the commit is lost, the position tells.
func (h *holder) apply(ctx context.Context, batch eventlog.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("apply %d events: panic: %v\n%s", len(batch.Events), r, debug.Stack())
		}
	}()
	return pgx.BeginTxFunc(ctx, h.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := h.enter(ctx, tx); err != nil {
			return err
		}
		h.cfg.Hook("batch:entered")
		if err := h.consume(ctx, tx, batch); err != nil {
			return err
		}
		if err := h.move(ctx, tx, batch); err != nil {
			return err
		}
		h.cfg.Hook("batch:applied")
		return nil
	})
}
