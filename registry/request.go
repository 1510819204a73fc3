package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Reason tells why the registry is compared with the source.
type Reason string

// The reasons of a [Request].
const (
	Asked     Reason = "asked"     // by an operator
	Scheduled Reason = "scheduled" // it is time again
	Lost      Reason = "lost"      // the source has lost what was read from it
	Pruned    Reason = "pruned"    // events were gone before they were read
	Failover  Reason = "failover"  // home has failed over with its own log; asked for by the database
	Selected  Reason = "selected"  // another part of a kind is wanted here; see [Select]
)

// Request asks for the registry to be compared with the source.
type Request struct {
	Kind   string // empty: all kinds
	Reason Reason
	DryRun bool  // report what would be done, and do nothing
	Beyond *Tick // only rows whose intent came with a later tick; nil: all
	At     *Tick // read only a host that shows this tick; nil: any

	// Walk has what is in place compared with the registry in the end.
	Walk bool
	// RemoveOrphans has a walk remove what is in place of no row. Otherwise it is
	// only counted and named: the folder may have other resources than casq's.
	RemoveOrphans bool
	// AllowRemove is how many rows of a kind may be removed though that is most of
	// them; see [TooMany].
	AllowRemove int64
}

// Tick is a tick of the source, in the terms of casq.ticks.
type Tick struct {
	Timeline int32
	ID       int64
}

// Ask stores a request in tx and returns its id in casq.reconcile_runs. A worker
// takes it up once tx has committed.
func Ask(ctx context.Context, tx pgx.Tx, r Request) (id int64, err error) {
	beyondTimeline, beyondTick := r.Beyond.Columns()
	atTimeline, atTick := r.At.Columns()
	err = tx.QueryRow(ctx, claimSQL.Request, r.Kind, r.Reason, r.DryRun, beyondTimeline, beyondTick, atTimeline, atTick,
		r.Walk, r.RemoveOrphans, r.AllowRemove).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ask for a reconcile: %w", err)
	}
	return id, nil
}

// CompareViews asks for a comparison of views that are tracked in this database, of a kind or
// all, with what is followed of them: a reconcile compares the latter with the registry. One
// that is at work, or waits for an application, is waited for two seconds at most.
func CompareViews(ctx context.Context, home *pgxpool.Pool, kind string) error {
	rows, err := home.Query(ctx, "SELECT kind FROM casq.views WHERE kind = $1 OR $1 = '' ORDER BY kind", kind)
	if err != nil {
		return fmt.Errorf("list tracked views: %w", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list tracked views: %w", err)
	}
	for _, kind := range kinds {
		one := pgx.BeginFunc(ctx, home, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "SELECT casq.compare_view($1)", kind)
			return err
		})
		if one != nil {
			err = errors.Join(err, fmt.Errorf("ask for a comparison of the view of kind %s: %w", kind, one))
		}
	}
	return err
}

// Columns are the tick for a statement; NULLs of none.
func (t *Tick) Columns() (timeline *int32, id *int64) {
	if t == nil {
		return nil, nil
	}
	return &t.Timeline, &t.ID
}
