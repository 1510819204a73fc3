package registry

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed rewind.sql
var rewindText string

// rewindSQL has the statements of rewind.sql.
var rewindSQL = queries.Parse[struct{ Purged, Rows, Moves, Requests string }]("registry/rewind", rewindText)

// Rewound asks for the registry to be compared with the source, in the
// transaction that moves the cursor back or, past events that were not read, to
// the newest tick. What was lost had its effects: rows that came with ticks
// beyond are re-fetched from the source as it is now, on a host that shows the
// history which the cursor goes on with.
func (t *Transposer) Rewound(ctx context.Context, tx pgx.Tx, w eventlog.Rewind) error {
	// A change of a selection asks for a host that shows what home's cursor has read.
	// It commits before this, and its request is moved with the cursor, or finds the
	// cursor moved.
	if _, err := tx.Exec(ctx, holdSelectionSQL); err != nil {
		return fmt.Errorf("wait for a change of the selection: %w", err)
	}
	request := Request{Reason: reasonOf(w.Cause), At: tickOf(w.Newest), AllowRemove: t.AllowRemove}
	if !w.Everything {
		// A row that came with a lost tick may have been purged since: then it
		// cannot be found by its tick.
		var purged bool
		if err := tx.QueryRow(ctx, rewindSQL.Purged, w.To.Timeline.Ordinal, w.To.Tick).Scan(&purged); err != nil {
			return fmt.Errorf("find purged tombstones: %w", err)
		}
		if !purged {
			request.Beyond = tickOf(w.To)
		}
	}
	if w.Incomparable {
		if err := forget(ctx, tx, w.Newest); err != nil {
			return err
		}
	}
	_, err := Ask(ctx, tx, request)
	return err
}

func reasonOf(cause error) Reason {
	switch {
	case errors.Is(cause, eventlog.ErrPruned):
		return Pruned
	case cause != nil:
		return Lost
	default:
		return Asked
	}
}

func tickOf(p eventlog.Position) *Tick { return &Tick{Timeline: p.Timeline.Ordinal, ID: p.Tick} }

// forget drops what the registry knows of timelines from this one on, under whose
// numbers other events will come: they would pass for older ones, and would be
// ignored on a tombstone; and pages of the source would pass for older ones than
// the floors. (Where the source's timelines continue those that were read, new pages are
// above every floor, and a page of the lost time is not.) It writes to every row that
// has come since, in one transaction: this is rare (a server of another cluster, or one
// promoted beside the one that was read), and half of it done would be wrong.
func forget(ctx context.Context, tx pgx.Tx, now eventlog.Position) error {
	// Before rows: see casq.registry_floors.
	if _, err := tx.Exec(ctx, "SELECT FROM casq.registry_floors ORDER BY kind FOR UPDATE"); err != nil {
		return fmt.Errorf("lock the floors: %w", err)
	}
	if _, err := tx.Exec(ctx, "UPDATE casq.registry_floors SET timeline = 0, tick = 0"); err != nil {
		return fmt.Errorf("forget the timelines of floors: %w", err)
	}
	if _, err := tx.Exec(ctx, rewindSQL.Rows, now.Timeline.Ordinal); err != nil {
		return fmt.Errorf("forget the timelines of rows: %w", err)
	}
	if _, err := tx.Exec(ctx, rewindSQL.Moves, now.Timeline.Ordinal); err != nil {
		return fmt.Errorf("forget the timelines of moves: %w", err)
	}
	if _, err := tx.Exec(ctx, rewindSQL.Requests, now.Timeline.Ordinal, now.Tick); err != nil {
		return fmt.Errorf("forget the timelines of requests: %w", err)
	}
	return nil
}
