package registry

import (
	"context"
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

// compareViewsSQL has views that are tracked here (of kind $1, or all) compared with what is
// followed of them.
const compareViewsSQL = "SELECT casq.compare_view(v.kind) FROM casq.views AS v WHERE v.kind = $1 OR $1 = ''"

// CompareViews asks for a comparison of views that are tracked in this database, of a kind or
// all, with what is followed of them: a reconcile compares the latter with the registry. One
// that is at work, or waits for an application, is waited for two seconds at most.
func CompareViews(ctx context.Context, home *pgxpool.Pool, kind string) error {
	err := pgx.BeginFunc(ctx, home, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, compareViewsSQL, kind)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for a comparison of tracked views: %w", err)
	}
	return nil
}

// Columns are the tick for a statement; NULLs of none.
func (t *Tick) Columns() (timeline *int32, id *int64) {
	if t == nil {
		return nil, nil
	}
	return &t.Timeline, &t.ID
}
