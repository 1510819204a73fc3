package registry

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed resync.sql
var resyncText string

// resyncSQL has the statements of resync.sql.
var resyncSQL = queries.Parse[struct{ Lock, Resync, One, Count string }]("registry/resync", resyncText)

// ErrNoRow says that the registry has no row of that name.
var ErrNoRow = errors.New("no such resource in the registry")

// ResyncOptions narrow and watch a [ResyncKind].
type ResyncOptions struct {
	FailedOnly bool
	// Reason is that of casq.registry_failures; with FailedOnly only. nil: any.
	Reason *string
	// Before leaves out what has this version or a newer one: what the same resync has
	// asked for already, when it is done again after a crash. 0: nothing.
	Before   int64
	Fresh    bool            // use nothing of what is in place
	PageSize int             // rows per transaction; defaults to 1000
	Progress func(asked int) // called after each page; may be nil
	// Asked is called with what was asked for, by the page that has committed, and
	// with what waits untouched; may be nil. Its error ends the resync.
	Asked func(page []Job) error
}

// Resynced counts what came of a [ResyncKind].
type Resynced struct {
	Raised  int // new versions, each with a job
	Waiting int // left alone, since no run has begun on what was asked for before
}

// Asked is how many resources will be copied, or removed.
func (r Resynced) Asked() int { return r.Raised + r.Waiting }

// ResyncOne asks for one resource to be copied, or removed, again, and returns
// the new version. Also a resource that is in place already: a resync is a new
// version like any other.
//
// fresh says that nothing of what is in place may be used: see [Claim.Fresh].
func ResyncOne(ctx context.Context, pool *pgxpool.Pool, jobs Jobs, kind, resourceID string, fresh bool) (version int64, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		job := Job{Token: Token{Kind: kind, ResourceID: resourceID}}
		err := tx.QueryRow(ctx, resyncSQL.One, kind, resourceID, fresh).Scan(&job.Version, &job.Deleted)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: %s %q", ErrNoRow, kind, resourceID)
		}
		if err != nil {
			return err
		}
		version = job.Version
		return jobs.Insert(ctx, tx, []Job{job}, false)
	})
	if err != nil {
		return 0, fmt.Errorf("resync: %w", err)
	}
	return version, nil
}

// ResyncKind asks for all resources of a kind again, page by page in key order.
// Tombstones whose removal is done are left alone.
func ResyncKind(ctx context.Context, pool *pgxpool.Pool, jobs Jobs, kind string, opts ResyncOptions) (Resynced, error) {
	pageSize := cmp.Or(opts.PageSize, 1000)
	var done Resynced
	last := ""
	for {
		var page resyncedPage
		err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
			if page, err = resyncPage(ctx, tx, kind, last, pageSize, opts); err != nil {
				return err
			}
			return InsertJobs(ctx, tx, jobs, page.raised)
		})
		if err != nil {
			return done, fmt.Errorf("resync %s beyond %q: %w", kind, last, err)
		}
		done.Raised, done.Waiting = done.Raised+len(page.raised), done.Waiting+len(page.waiting)
		if opts.Progress != nil {
			opts.Progress(done.Asked())
		}
		if asked := slices.Concat(page.raised, page.waiting); opts.Asked != nil && len(asked) > 0 {
			if err := opts.Asked(asked); err != nil {
				return done, err
			}
		}
		if len(page.keys) < pageSize {
			return done, nil
		}
		last = page.keys[len(page.keys)-1]
	}
}

// CountResync returns how many resources [ResyncKind] would ask for again, those
// that wait included.
func CountResync(ctx context.Context, pool *pgxpool.Pool, kind string, failedOnly bool) (n int64, err error) {
	if err := pool.QueryRow(ctx, resyncSQL.Count, kind, failedOnly).Scan(&n); err != nil {
		return 0, fmt.Errorf("count what a resync of %s would ask for: %w", kind, err)
	}
	return n, nil
}

// resyncedPage is a page of keys, and the jobs of those that were wanted.
type resyncedPage struct {
	keys            []string
	raised, waiting []Job
}

func resyncPage(ctx context.Context, tx pgx.Tx, kind, after string, size int, opts ResyncOptions) (page resyncedPage, err error) {
	result, err := tx.Query(ctx, resyncSQL.Lock, kind, after, size)
	if err != nil {
		return page, err
	}
	if page.keys, err = pgx.CollectRows(result, pgx.RowTo[string]); err != nil {
		return page, err
	}
	if result, err = tx.Query(ctx, resyncSQL.Resync, kind, page.keys, opts.FailedOnly, opts.Fresh, opts.Reason, opts.Before); err != nil {
		return page, err
	}
	job := Job{Token: Token{Kind: kind}}
	var prompt, waits bool
	_, err = pgx.ForEachRow(result, []any{&job.ResourceID, &job.Version, &job.Deleted, &prompt, &waits}, func() error {
		job.Urgency = Bulk
		if prompt {
			job.Urgency = Prompt
		}
		if waits {
			page.waiting = append(page.waiting, job)
		} else {
			page.raised = append(page.raised, job)
		}
		return nil
	})
	return page, err
}
