package recount

import (
	"context"
	_ "embed"
	"fmt"

	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

//go:embed adopt.sql
var adoptText string

// adoptSQL has the statements of adopt.sql.
var adoptSQL = queries.Parse[struct{ Turn, Lost, Release string }]("recount/adopt", adoptText)

const (
	// turnPage is how many recounts are woken when another one is through with its
	// work: one of everything, or some of a scope each.
	turnPage = 4
	// lostPage is how many recounts without a job are queued again at a time.
	lostPage = 500
)

// Asleep is a recount that waits for its turn, and the job that will ask again.
type Asleep struct{ Scan, Job int64 }

// Turn returns the recounts whose turn it may be, and whose jobs (of the River kind)
// sleep.
func (r *Recounts) Turn(ctx context.Context, kind string) ([]Asleep, error) {
	rows, err := r.cfg.Home.Query(ctx, adoptSQL.Turn, kind, turnPage)
	if err != nil {
		return nil, fmt.Errorf("list recounts that wait: %w", err)
	}
	asleep, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Asleep])
	if err != nil {
		return nil, fmt.Errorf("list recounts that wait: %w", err)
	}
	return asleep, nil
}

// Wake queues in tx a recount that waits for its turn: its job was deleted there.
func (r *Recounts) Wake(ctx context.Context, tx pgx.Tx, scan int64) error {
	job, err := r.cfg.Jobs.Scan(ctx, tx, scan)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE casq.scans SET job = $2 WHERE id = $1 AND token IS NULL", scan, job)
	return err
}

// Adopt queues recounts that have no job of the River kinds: later ones would wait for
// them for ever. Jobs that repeat are no-ops, so any number of workers may do this.
func (r *Recounts) Adopt(ctx context.Context, kinds ...string) error {
	rows, err := r.cfg.Home.Query(ctx, adoptSQL.Lost, kinds, lostPage)
	if err != nil {
		return fmt.Errorf("list recounts without a job: %w", err)
	}
	type lost struct {
		Scan  int64
		Token *uuid.UUID
		Fresh bool
	}
	recounts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lost])
	if err != nil {
		return fmt.Errorf("list recounts without a job: %w", err)
	}
	for _, l := range recounts {
		if err := r.queueAgain(ctx, l.Scan, l.Token); err != nil {
			return err
		}
		if l.Fresh {
			r.log.InfoContext(ctx, "recount queued that the database has asked for", "scan", l.Scan)
		} else {
			r.log.WarnContext(ctx, "a recount had no job, queued again", "scan", l.Scan)
		}
	}
	return nil
}

// queueAgain queues the swap of the run that has ended the scan, or the scan.
func (r *Recounts) queueAgain(ctx context.Context, scan int64, token *uuid.UUID) error {
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		if token != nil {
			_, err = r.cfg.Jobs.Finalize(ctx, tx, Finalize{Scan: scan, Token: *token})
		} else {
			_, err = r.cfg.Jobs.Scan(ctx, tx, scan)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("queue recount %d again: %w", scan, err)
	}
	return nil
}

// Release frees a scan that a job of this live process had taken and does not work
// on any more: nobody else takes one of a live process.
func (r *Recounts) Release(ctx context.Context, scan, job int64, process uuid.UUID) error {
	if _, err := r.cfg.Home.Exec(ctx, adoptSQL.Release, scan, process, job); err != nil {
		return fmt.Errorf("free scan %d: %w", scan, err)
	}
	return nil
}
