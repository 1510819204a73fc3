package reconcile

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"

	"casq/eventlog"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed replay.sql
var replayText string

// replaySQL has the statements of replay.sql.
var replaySQL = queries.Parse[struct{ Page, Done string }]("registry/reconcile/replay", replayText)

// ReplayOptions narrow and watch a [Replay].
type ReplayOptions struct {
	Kind       string               // empty: all
	ResourceID string               // empty: all
	PageSize   int                  // failures at a time; defaults to 1000
	Progress   func(replayed int64) // called after each page; may be nil
}

// ReplayReport counts what came of a [Replay].
type ReplayReport struct {
	Failures int64 // that were closed
	RefetchReport
}

// failure is an event that the registry has dead-lettered.
type failure struct {
	Kind, ResourceID string
	Timeline         int32
	EventID          int64
}

// Replay re-fetches the resources of events that the registry's cursor has
// dead-lettered, and closes the failures. The events themselves are not applied: what
// they told may have changed since. If it ends before the failures are closed, the next
// replay re-fetches the resources again, which costs a needless copy.
//
// Failures of a kind that the source cannot list ([ErrUnlisted]), or that cannot be
// re-fetched otherwise, stay open; those of the others are replayed before that is
// returned. An error that is no kind's own ends the replay.
func Replay(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, jobs registry.Jobs, opts ReplayOptions) (report ReplayReport, err error) {
	open := make(map[string]error)
	last := failure{}
	for {
		page, err := replayPage(ctx, home, opts, last)
		if err != nil {
			return report, fmt.Errorf("replay: %w", err)
		}
		if len(page) == 0 {
			break
		}
		kind := page[0].Kind
		n := 0
		for n < len(page) && page[n].Kind == kind {
			n++
		}
		page = page[:n]
		last = page[n-1]
		err = report.replay(ctx, home, source, jobs, page)
		if errors.Is(err, ErrUnlisted) || isOfKind(err) {
			open[kind] = err
			continue
		}
		if err != nil {
			return report, fmt.Errorf("replay %s: %w", kind, err)
		}
		if opts.Progress != nil {
			opts.Progress(report.Failures)
		}
	}
	var left []error
	for _, kind := range slices.Sorted(maps.Keys(open)) {
		left = append(left, fmt.Errorf("replay %s: %w", kind, open[kind]))
	}
	return report, errors.Join(left...)
}

func replayPage(ctx context.Context, db eventlog.DB, opts ReplayOptions, last failure) ([]failure, error) {
	rows, err := db.Query(ctx, replaySQL.Page, nullable(opts.Kind), nullable(opts.ResourceID),
		last.Kind, last.ResourceID, last.Timeline, last.EventID, cmp.Or(opts.PageSize, 1000))
	if err != nil {
		return nil, fmt.Errorf("list failures: %w", err)
	}
	page, err := pgx.CollectRows(rows, pgx.RowToStructByPos[failure])
	if err != nil {
		return nil, fmt.Errorf("list failures: %w", err)
	}
	return page, nil
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// replay re-fetches the resources of failures of one kind, then closes those.
func (r *ReplayReport) replay(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, jobs registry.Jobs, page []failure) error {
	var keys []string
	var timelines []int32
	var events []int64
	for _, f := range page {
		keys, timelines, events = append(keys, f.ResourceID), append(timelines, f.Timeline), append(events, f.EventID)
	}
	done, err := Refetch(ctx, home, source, jobs, page[0].Kind, keys)
	r.Copied, r.Removed, r.Late, r.Unknown = r.Copied+done.Copied, r.Removed+done.Removed, r.Late+done.Late, r.Unknown+done.Unknown
	if err != nil {
		return err
	}
	closed, err := home.Exec(ctx, replaySQL.Done, timelines, events)
	if err != nil {
		return fmt.Errorf("close %d failures: %w", len(page), err)
	}
	r.Failures += closed.RowsAffected()
	return nil
}
