package eventlog

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed backfill.sql
var backfillText string

// backfillSQL has the statements of backfill.sql.
var backfillSQL = queries.Parse[struct{ Page, Row string }]("eventlog/backfill", backfillText)

// DefaultBackfillPageSize is the number of rows that a backfill locks and logs
// in one transaction, unless said otherwise; they are locked for some 10 ms.
const DefaultBackfillPageSize = 1000

// ErrNotTracked is returned for a kind that has no tracked table.
var ErrNotTracked = errors.New("kind has no tracked table")

// Beginner begins transactions: a pool or a connection. It is not a [pgx.Tx],
// since each page must be able to give its locks back.
type Beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// BackfillOptions of [Backfill]. The zero value starts with the first key.
type BackfillOptions struct {
	PageSize int              // rows per transaction; defaults to [DefaultBackfillPageSize]
	After    string           // the key to go on after; see [BackfillError]
	Progress func(done int64) // called after each page with the rows done so far
}

// BackfillError tells how far a backfill came.
type BackfillError struct {
	Kind  string
	After string // give this to [BackfillOptions] to go on
	Done  int64  // rows that have their event
	Err   error
}

func (e *BackfillError) Error() string {
	return fmt.Sprintf("backfill %s, go on after key %q: %v", e.Kind, e.After, e.Err)
}

func (e *BackfillError) Unwrap() error { return e.Err }

// Backfill appends an updated event without deltas for each row of a kind's
// table, in the order of the keys, a page per transaction, and returns how many.
// Rows that are written meanwhile are done once more at worst; the newest event
// of a resource always has its newest content. It waits for rows that others have
// locked, but holds no lock of its own then, so nobody's transaction is ended as
// a deadlock for it. Errors are a [*BackfillError], which says where to go on.
func Backfill(ctx context.Context, db Beginner, kind string, opts BackfillOptions) (int64, error) {
	b := backfill{db: db, kind: kind, size: cmp.Or(opts.PageSize, DefaultBackfillPageSize)}
	if opts.After != "" {
		b.after = &opts.After
	}
	for more := true; more; {
		var err error
		if more, err = b.page(ctx); err != nil {
			return b.done, b.fail(err)
		}
		if opts.Progress != nil {
			opts.Progress(b.done)
		}
	}
	return b.done, nil
}

type backfill struct {
	db    Beginner
	kind  string
	size  int
	after *string // nil: from the first key
	done  int64
}

// page does one page and moves after. It returns false at the end.
func (b *backfill) page(ctx context.Context) (bool, error) {
	var n int64
	var last *string
	var busy []string
	if err := b.query(ctx, backfillSQL.Page, []any{b.kind, b.after, b.size}, &n, &last, &busy); err != nil {
		return false, err
	}
	b.done += n
	for _, key := range busy {
		if err := b.query(ctx, backfillSQL.Row, []any{b.kind, key}, &n); err != nil {
			return false, err
		}
		b.done += n
	}
	if last == nil {
		return false, nil
	}
	b.after = last
	return true, nil
}

// query runs one statement in a transaction of its own. READ COMMITTED, for a
// row that was waited for must be seen as it is then.
func (b *backfill) query(ctx context.Context, sql string, args []any, into ...any) error {
	return pgx.BeginTxFunc(ctx, b.db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, sql, args...).Scan(into...)
	})
}

func (b *backfill) fail(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42704" {
		err = fmt.Errorf("%w: %s", ErrNotTracked, pgErr.Hint)
	}
	failed := &BackfillError{Kind: b.kind, Done: b.done, Err: err}
	if b.after != nil {
		failed.After = *b.after
	}
	return failed
}
