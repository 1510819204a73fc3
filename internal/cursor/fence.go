package cursor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// ErrFenced says that another cursor has taken over: nothing of the batch took
// effect. The error is a [*FencedError].
var ErrFenced = errors.New("fenced: another cursor has taken over")

// FencedError is [ErrFenced] with both epochs. They are equal when the position
// was moved by hand.
type FencedError struct {
	Mine, New int64
	Position  eventlog.Position // at which the batch began
	// Cause is what the holder met: its session was ended. May be nil.
	Cause error
}

// Error implements error.
func (e *FencedError) Error() string {
	text := fmt.Sprintf("%s: epoch %d is over, the epoch is %d; or the position is not %s", ErrFenced, e.Mine, e.New, e.Position)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Is makes it an [ErrFenced].
func (e *FencedError) Is(target error) bool { return target == ErrFenced }

// Unwrap returns the cause.
func (e *FencedError) Unwrap() error { return e.Cause }

// enter begins a batch. Batches of one cursor take turns, so that what an old
// holder has done is rolled back or committed before the next batch reads the fence; its
// session ends with its idle time-out at the latest. The row itself is locked
// only at the end, so that beats and takeovers do not wait for a batch.
func (h *holder) enter(ctx context.Context, tx pgx.Tx) error {
	var batch pgx.Batch
	batch.Queue(lockBatchSQL, h.cfg.Name)
	batch.Queue(cursorSQL.Check, append([]any{h.cfg.Name}, h.stored.Values()...)...)
	results := tx.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return fmt.Errorf("wait for the batch before: %w", err)
	}
	var epoch int64
	var same bool
	if err := results.QueryRow().Scan(&epoch, &same); err != nil {
		return fmt.Errorf("read the fence: %w", err)
	}
	if epoch != h.epoch || !same {
		return &FencedError{Mine: h.epoch, New: epoch, Position: h.stored}
	}
	return results.Close()
}

// move is the fence: the position moves from where the batch began, under the
// epoch in which it began, or nothing of the batch takes effect.
func (h *holder) move(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	args := slices.Concat([]any{h.cfg.Name, h.epoch, len(batch.Events) > 0}, h.stored.Values(), batch.Next.Values(),
		[]any{h.newest.age(time.Now()), h.current})
	moved, err := tx.Exec(ctx, cursorSQL.Move, args...)
	if err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	if moved.RowsAffected() == 1 {
		return nil
	}
	fenced := &FencedError{Mine: h.epoch, Position: h.stored}
	if err := tx.QueryRow(ctx, cursorSQL.Epoch, h.cfg.Name).Scan(&fenced.New); err != nil {
		fenced.Cause = fmt.Errorf("read the fence: %w", err)
	}
	return fenced
}

// same returns a [*FencedError] when the epoch is another one.
func (h *holder) same(ctx context.Context, db eventlog.DB, cause error) error {
	var epoch int64
	if err := db.QueryRow(ctx, cursorSQL.Epoch, h.cfg.Name).Scan(&epoch); err != nil {
		return fmt.Errorf("read the epoch: %w", err)
	}
	if epoch != h.epoch {
		return &FencedError{Mine: h.epoch, New: epoch, Position: h.stored, Cause: cause}
	}
	return nil
}
