package registry

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	//go:embed resync.sql
	resyncSQL string
	//go:embed resync_one.sql
	resyncOneSQL string
	//go:embed resync_count.sql
	resyncCountSQL string
)

// ErrNoRow says that the registry has no row of that name.
var ErrNoRow = errors.New("no such thing in the registry")

// ResyncOptions narrow and watch a [ResyncKind].
type ResyncOptions struct {
	FailedOnly bool
	Fresh      bool             // use nothing of what is in place
	PageSize   int              // rows per transaction; defaults to 1000
	Progress   func(raised int) // called after each page; may be nil
	// Asked is called with the jobs of each page that has committed; may be
	// nil. Its error ends the resync.
	Asked func(page []Job) error
}

// ResyncOne asks for one thing to be copied, or removed, again, and returns
// the new version. Also a thing that is in place already: a resync is a new
// version like any other.
//
// fresh says that nothing of what is in place may be used: see [Claim.Fresh].
func ResyncOne(ctx context.Context, pool *pgxpool.Pool, jobs Jobs, kind, resourceID string, fresh bool) (version int64, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		job := Job{Token: Token{Kind: kind, ResourceID: resourceID}}
		err := tx.QueryRow(ctx, resyncOneSQL, kind, resourceID, fresh).Scan(&job.Version, &job.Deleted)
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

// ResyncKind asks for all things of a kind again, page by page in key order,
// and returns how many. Tombstones whose removal is done are left alone.
func ResyncKind(ctx context.Context, pool *pgxpool.Pool, jobs Jobs, kind string, opts ResyncOptions) (raised int, err error) {
	pageSize := cmp.Or(opts.PageSize, 1000)
	last := ""
	for {
		var page int
		var wanted []Job
		next := last
		err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
			var err error
			wanted, page, next, err = resyncPage(ctx, tx, kind, last, pageSize, opts)
			if err != nil || len(wanted) == 0 {
				return err
			}
			return jobs.Insert(ctx, tx, wanted, false)
		})
		if err != nil {
			return raised, fmt.Errorf("resync %s beyond %q: %w", kind, last, err)
		}
		raised, last = raised+len(wanted), next
		if opts.Progress != nil {
			opts.Progress(raised)
		}
		if opts.Asked != nil && len(wanted) > 0 {
			if err := opts.Asked(wanted); err != nil {
				return raised, err
			}
		}
		if page < pageSize {
			return raised, nil
		}
	}
}

// CountResync returns how many things [ResyncKind] would ask for again.
func CountResync(ctx context.Context, pool *pgxpool.Pool, kind string, failedOnly bool) (n int64, err error) {
	if err := pool.QueryRow(ctx, resyncCountSQL, kind, failedOnly).Scan(&n); err != nil {
		return 0, fmt.Errorf("count what a resync of %s would ask for: %w", kind, err)
	}
	return n, nil
}

// resyncPage returns the jobs of one page, how many rows it had, and its last
// key; after itself when it was empty.
func resyncPage(ctx context.Context, tx pgx.Tx, kind, after string, size int, opts ResyncOptions) (wanted []Job, rows int, last string, err error) {
	last = after
	result, err := tx.Query(ctx, resyncSQL, kind, after, size, opts.FailedOnly, opts.Fresh)
	if err != nil {
		return nil, 0, last, err
	}
	job := Job{Token: Token{Kind: kind}}
	_, err = pgx.ForEachRow(result, []any{&job.ResourceID, &job.Version, &job.Deleted}, func() error {
		rows, last = rows+1, job.ResourceID
		if job.Version > 0 {
			wanted = append(wanted, job)
		}
		return nil
	})
	return wanted, rows, last, err
}
