package registry

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed kind.sql
var kindText string

// kindSQL has the statements of kind.sql.
var kindSQL = queries.Parse[struct{ Move, Set, Collides string }]("registry/kind", kindText)

// ErrKind says that a kind cannot be moved or dropped; the error's text says why, and
// what to do.
var ErrKind = errors.New("kind stays as it is")

// MoveOptions watch a [MoveKind].
type MoveOptions struct {
	DryRun   bool            // tell what would be copied anew, and change nothing
	PageSize int             // rows locked and queued by one statement; defaults to 1000
	Progress func(asked int) // called after each page; may be nil
}

// MovedKind tells what a [MoveKind] has met.
type MovedKind struct {
	From  string
	To    string
	Asked int // resources that are copied anew
}

// MoveKind sets another prefix of a kind on this site. All that it has here is copied
// anew to the new place, under new versions, and a run that is under way loses its
// claim: it publishes nothing at the old place any more. What is there stays, and is
// of no row. Where the kind has the prefix already nothing is done.
//
// It is one transaction, however many resources there are: until it commits nothing
// has happened, and from then on no row says synced of what is not at the new place.
// Batches of the log wait for it, and runs of the kind. Into a tree of another kind it
// may be moved where no resource of both would share a place: each is looked up.
func MoveKind(ctx context.Context, pool *pgxpool.Pool, jobs Jobs, kind, prefix string, opts MoveOptions) (moved MovedKind, err error) {
	moved.To = strings.Trim(prefix, "/")
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		// A batch of the log commits before the move, or begins after it.
		if _, err := tx.Exec(ctx, changeSelectionSQL); err != nil {
			return fmt.Errorf("wait for the log's batch: %w", err)
		}
		if err := moved.check(ctx, tx, kind); err != nil || moved.From == moved.To {
			return err
		}
		if err := moved.rows(ctx, tx, jobs, kind, opts); err != nil {
			return err
		}
		// What is in place stays where it was, and nothing is made of it.
		if _, err := tx.Exec(ctx, "DELETE FROM casq.moves WHERE kind = $1", kind); err != nil {
			return fmt.Errorf("end moves: %w", err)
		}
		if _, err := tx.Exec(ctx, "UPDATE casq.kinds SET prefix = $2 WHERE kind = $1", kind, moved.To); err != nil {
			return refusedKind(err)
		}
		if err := checkPlaces(ctx, tx, kind); err != nil {
			return err
		}
		if opts.DryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return moved, fmt.Errorf("move kind %s: %w", kind, err)
	}
	return moved, nil
}

// check finds out where the kind is, and whether it may be elsewhere, before a
// million rows are touched for nothing.
func (m *MovedKind) check(ctx context.Context, tx pgx.Tx, kind string) error {
	kinds, err := eventlog.Kinds(ctx, tx)
	if err != nil {
		return err
	}
	k, known := kinds[kind]
	switch {
	case !known:
		return fmt.Errorf("%w: %w %q", ErrKind, eventlog.ErrUnknownKind, kind)
	case k.Transfer == eventlog.TransferNone:
		return fmt.Errorf("%w: it has no files, and so no place", ErrKind)
	}
	m.From = k.Prefix
	_, err = tx.Exec(ctx, `SELECT casq.check_kind(jsonb_populate_record(k, jsonb_build_object('prefix', $2::text)))
		FROM casq.kinds AS k WHERE k.kind = $1`, kind, m.To)
	return refusedKind(err)
}

// checkPlaces refuses a kind of which a resource would have the place of another kind's,
// where they share a tree: its copy would fail.
func checkPlaces(ctx context.Context, tx pgx.Tx, kind string) error {
	rows, err := tx.Query(ctx, kindSQL.Collides, kind)
	if err != nil {
		return fmt.Errorf("compare places: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return rows.Err()
	}
	var key, holder, held string
	if err := rows.Scan(&key, &holder, &held); err != nil {
		return fmt.Errorf("compare places: %w", err)
	}
	return fmt.Errorf("%w: %s %q would have the place of %s %q", ErrKind, kind, key, holder, held)
}

// rows raises all rows of the kind, page by page in key order.
func (m *MovedKind) rows(ctx context.Context, tx pgx.Tx, jobs Jobs, kind string, opts MoveOptions) error {
	size := cmp.Or(opts.PageSize, 1000)
	for last := ""; ; {
		rows, err := tx.Query(ctx, resyncSQL.Lock, kind, last, size)
		if err != nil {
			return fmt.Errorf("lock rows: %w", err)
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("lock rows: %w", err)
		}
		raised, err := movePage(ctx, tx, kind, keys)
		if err != nil {
			return fmt.Errorf("ask for what is to be copied anew: %w", err)
		}
		if err := InsertJobs(ctx, tx, jobs, raised); err != nil {
			return err
		}
		m.Asked += len(raised)
		if opts.Progress != nil {
			opts.Progress(m.Asked)
		}
		if len(keys) < size {
			return nil
		}
		last = keys[len(keys)-1]
	}
}

func movePage(ctx context.Context, tx pgx.Tx, kind string, keys []string) (raised []Job, err error) {
	rows, err := tx.Query(ctx, kindSQL.Move, kind, keys)
	if err != nil {
		return nil, err
	}
	job := Job{Token: Token{Kind: kind}}
	var prompt bool
	_, err = pgx.ForEachRow(rows, []any{&job.ResourceID, &job.Version, &job.Deleted, &prompt}, func() error {
		job.Urgency = Bulk
		if prompt {
			job.Urgency = Prompt
		}
		raised = append(raised, job)
		return nil
	})
	slices.SortFunc(raised, func(a, b Job) int { return compareTokens(a.Token, b.Token) })
	return raised, err
}

// KindOptions are what a site may say of a kind for itself. Nil: it stays as it is.
type KindOptions struct {
	Missing *string        // [eventlog.MissingFailed] or [eventlog.MissingAbsent]
	Quiet   *time.Duration // see [eventlog.Kind]
	Probe   *time.Duration // likewise; 0: never
}

// SetKind changes options of a kind on this site, and returns the kind as it is then.
// Workers go by them from their next run, batch or probe on.
func SetKind(ctx context.Context, pool *pgxpool.Pool, kind string, o KindOptions) (k eventlog.Kind, err error) {
	err = pool.QueryRow(ctx, kindSQL.Set, kind, o.Missing, o.Quiet, o.Probe).Scan(k.Fields()...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return k, fmt.Errorf("%w: %w %q", ErrKind, eventlog.ErrUnknownKind, kind)
	case err != nil:
		return k, fmt.Errorf("set options of kind %s: %w", kind, refusedKind(err))
	}
	return k, nil
}

// EmptyKind has everything of a kind removed on this site, as a selection of nothing
// does, and returns the reconcile run that does it; 0 where nothing was selected before,
// and that run has finished. Unlike [Select] it needs no table to find again what was
// removed: the kind is to be dropped.
func EmptyKind(ctx context.Context, pool *pgxpool.Pool, kind string) (run int64, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		run, err = changeSelection(ctx, tx, Selection{Kind: kind, Scopes: []string{}})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("remove what there is of kind %s: %w", kind, err)
	}
	return run, nil
}

// dropPage is how many resources one transaction forgets.
const dropPage = 5000

// DropKind ends a kind on this site: see casq.drop_kind. keep says that what is in
// place is forgotten, and stays; otherwise there must be nothing. It returns how many
// rows were forgotten. They are forgotten in pages: broken off, it goes on where it is
// repeated. progress is called after each page, and may be nil. Errors: [ErrKind].
func DropKind(ctx context.Context, pool *pgxpool.Pool, kind string, keep, dryRun bool, progress func(forgotten int64)) (forgotten int64, err error) {
	for keep && !dryRun {
		var n int64
		if err := pool.QueryRow(ctx, "SELECT casq.forget_resources($1, $2)", kind, dropPage).Scan(&n); err != nil {
			return forgotten, fmt.Errorf("drop kind %s: %w", kind, refusedKind(err))
		}
		forgotten += n
		if progress != nil {
			progress(forgotten)
		}
		if n < dropPage {
			break
		}
	}
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		var rest int64
		if err := tx.QueryRow(ctx, "SELECT casq.drop_kind($1, $2)", kind, keep).Scan(&rest); err != nil {
			return refusedKind(err)
		}
		forgotten += rest
		if dryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return forgotten, fmt.Errorf("drop kind %s: %w", kind, err)
	}
	return forgotten, nil
}

// refusedKind makes a refusal by casq's SQL an [ErrKind], with its hint.
func refusedKind(err error) error {
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && strings.HasPrefix(refused.Message, "casq: ") {
		return fmt.Errorf("%w: %s; %s", ErrKind, strings.TrimPrefix(refused.Message, "casq: "), refused.Hint)
	}
	return err
}

// LearnKinds makes the source's kinds known at home: a kind may have resources, and
// never have had an event. A kind that home refuses, since another has its place, say,
// keeps no other from being learnt.
func LearnKinds(ctx context.Context, home *pgxpool.Pool, source eventlog.DB) (refused map[string]error, err error) {
	there, err := eventlog.Kinds(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("read the source's kinds: %w", err)
	}
	here, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return nil, fmt.Errorf("read home's kinds: %w", err)
	}
	for name := range here {
		delete(there, name)
	}
	refused = make(map[string]error)
	for _, name := range slices.Sorted(maps.Keys(there)) {
		err := pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) error { return insertKinds(ctx, tx, []string{name}, there) })
		switch {
		case database.Refused(err):
			refused[name] = err
		case err != nil:
			return nil, err
		}
	}
	return refused, nil
}
