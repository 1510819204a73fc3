package registry

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed cancel.sql
var cancelText string

// cancelSQL has the statements of cancel.sql.
var cancelSQL = queries.Parse[struct{ State, Cancel string }]("registry/cancel", cancelText)

// ErrCancelled is what the row says of a version that an operator has cancelled,
// and the cause of the end of its run's context. The row's words are what counts:
// a claim that finds them there is not granted.
var ErrCancelled = errors.New("cancelled by an operator")

// Canceller ends jobs in a transaction that is under way: those of a version
// that wait, and the one that runs, when it is not 0. That one is told, and ends
// some time after the commit.
type Canceller interface {
	Cancel(ctx context.Context, tx pgx.Tx, token Token, running int64) (ended int, err error)
}

// CancelOptions of [Cancel].
type CancelOptions struct {
	DryRun bool // tell what would be cancelled, and change nothing
}

// errDryRun rolls a dry run's transaction back.
var errDryRun = errors.New("dry run")

// Cancelled tells what a [Cancel] has met.
type Cancelled struct {
	Version int64  `json:"version"`
	InPlace bool   `json:"in_place"` // that version is in place: there was nothing to cancel
	Jobs    int    `json:"jobs"`     // that were ended or told to end
	Running bool   `json:"running"`  // a live process works on it, and is told
	Host    string `json:"host,omitempty"`
	PID     int32  `json:"pid,omitempty"`
}

// Cancel cancels the version of a resource that is asked for: its jobs are ended,
// the run that has the resource is told to stop, and the row says failed. A new
// version starts it again, by [ResyncOne] or by the next event.
//
// A run that is past its point of no return still publishes its copy; then the
// row says that the version is in place. A job that was on its way begins no run.
func Cancel(ctx context.Context, pool *pgxpool.Pool, jobs Canceller, kind, resourceID string, opts CancelOptions) (c Cancelled, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		var claimed bool
		var job int64
		err := tx.QueryRow(ctx, cancelSQL.State, kind, resourceID).
			Scan(&c.Version, &c.InPlace, &claimed, &job, &c.Host, &c.PID, &c.Running)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: %s %q", ErrNoRow, kind, resourceID)
		}
		if err != nil || c.InPlace {
			return err
		}
		left := claimed && !c.Running
		if _, err := tx.Exec(ctx, cancelSQL.Cancel, kind, resourceID, ErrCancelled.Error(), left); err != nil {
			return err
		}
		c.Jobs, err = jobs.Cancel(ctx, tx, Token{Kind: kind, ResourceID: resourceID, Version: c.Version}, job)
		if err == nil && opts.DryRun {
			return errDryRun
		}
		return err
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return Cancelled{}, fmt.Errorf("cancel: %w", err)
	}
	return c, nil
}
