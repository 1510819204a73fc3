package reconcile

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed refetch.sql
var refetchText string

// refetchSQL has the statements of refetch.sql.
var refetchSQL = queries.Parse[struct {
	Apply, Remove, Floor, Versions, Reached, Resources, Of, Coming, Missing string
}]("registry/reconcile/refetch", refetchText)

var (
	// ErrUnlisted says that the source has no tracked table of the kind, from which
	// its resources could be listed.
	ErrUnlisted = errors.New("source has no tracked table of the kind")

	// ErrLateSource says that the host of the source shows too old a state.
	ErrLateSource = errors.New("host of the source is behind")
)

// RefetchReport counts what came of a [Refetch].
type RefetchReport struct {
	Copied  int // in the source: a new version was asked for
	Removed int // not in the source: a delete was asked for
	Late    int // left alone: the log has told something newer than the source showed
	Unknown int // neither in the source nor in the registry
}

// refetchGroup is the number of keys that are read at once.
const refetchGroup = 1000

// Refetch reads resources from the source as it is now: one that is there gets a
// new version with its present payload, and a row if it has no row; one that is not
// there, or not selected, gets a delete intent. A row that the log has changed
// since then is left alone. Errors: [ErrUnlisted]; [ErrLateSource], when another host
// or a later try may help; [eventlog.ErrNoTicks]. Groups before the error stay done.
func Refetch(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, jobs registry.Jobs, kind string, keys []string) (RefetchReport, error) {
	var report RefetchReport
	refused, err := registry.LearnKinds(ctx, home, source)
	if err = cmp.Or(err, refused[kind]); err != nil {
		return report, fmt.Errorf("re-fetch resources of kind %s: %w", kind, err)
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	for len(keys) > 0 {
		done, err := report.refetch(ctx, home, source, jobs, kind, keys[:min(len(keys), refetchGroup)])
		if err != nil && !errors.Is(err, registry.ErrSelectionChanged) {
			return report, fmt.Errorf("re-fetch resources of kind %s: %w", kind, err)
		}
		keys = keys[done:]
	}
	return report, nil
}

// refetch does the first of the keys, and returns how many these are.
func (r *RefetchReport) refetch(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, jobs registry.Jobs, kind string, keys []string) (done int, err error) {
	// Before the source is asked: a row that changes meanwhile has another one.
	versions, err := liveVersions(ctx, home, kind, keys)
	if err != nil {
		return 0, err
	}
	wanted, err := registry.ReadSelection(ctx, home, kind)
	if err != nil {
		return 0, err
	}
	found, err := resourcesOf(ctx, source, wanted, keys, pageBytes)
	if err != nil {
		return 0, err
	}
	for _, key := range keys[found.answered:] {
		delete(versions, key)
	}
	keys = keys[:found.answered]
	if !found.listed {
		return 0, fmt.Errorf("%w %q: events of it are appended by hand", ErrUnlisted, kind)
	}
	at, err := readCursor(ctx, home)
	if err != nil {
		return 0, err
	}
	if err := at.knows(found); err != nil {
		return 0, err
	}
	for _, key := range found.keys {
		delete(versions, key)
	}
	copied, err := applyAlone(ctx, home, jobs, found)
	if err != nil {
		return 0, err
	}
	removed, err := removeAlone(ctx, home, jobs, found, versions)
	if err != nil {
		return 0, err
	}
	r.Copied, r.Removed = r.Copied+copied, r.Removed+removed
	r.Late += len(found.keys) - copied + len(versions) - removed
	r.Unknown += len(keys) - len(found.keys) - len(versions)
	return len(keys), nil
}

// applyAlone and removeAlone have a transaction each: a row that is inserted
// cannot be locked beforehand, so that both together would not lock in key order.
func applyAlone(ctx context.Context, home *pgxpool.Pool, jobs registry.Jobs, found *page) (n int, err error) {
	err = pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lockFloor(ctx, tx, found); err != nil {
			return err
		}
		wanted, err := applyResources(ctx, tx, found, true, true)
		if err != nil {
			return err
		}
		n = len(wanted)
		return registry.InsertJobs(ctx, tx, jobs, wanted)
	})
	return n, err
}

func removeAlone(ctx context.Context, home *pgxpool.Pool, jobs registry.Jobs, found *page, versions map[string]int64) (n int, err error) {
	err = pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := holdSelection(ctx, tx, found); err != nil {
			return err
		}
		gone, err := removeRows(ctx, tx, found, versions)
		if err != nil {
			return err
		}
		n = len(gone)
		return registry.InsertJobs(ctx, tx, jobs, gone)
	})
	return n, err
}

// liveVersions returns the versions of those rows that want their resource to be there.
func liveVersions(ctx context.Context, db eventlog.DB, kind string, keys []string) (map[string]int64, error) {
	rows, err := db.Query(ctx, refetchSQL.Versions, kind, keys)
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	versions := make(map[string]int64)
	var key string
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&key, &version}, func() error {
		versions[key] = version
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return versions, nil
}

// homeCursor is how far home has read the log; the zero value before its first
// start. Inside a step the events up to its tick are applied.
type homeCursor eventlog.Position

func readCursor(ctx context.Context, home eventlog.DB) (homeCursor, error) {
	at, _, err := cursor.Position(ctx, home, registry.Cursor)
	return homeCursor(at), err
}

// knows returns an error for a page of another history than the one that home
// follows: an older timeline, or another one of the same ordinal. To act on such a page
// could remove everything.
func (c homeCursor) knows(p *page) error {
	switch mine := c.Timeline; {
	case mine.Ordinal > p.timeline:
		return fmt.Errorf("%w: it shows timeline %d, the cursor is in timeline %d", ErrLateSource, p.timeline, mine.Ordinal)
	case mine.Ordinal == p.timeline && mine.ID != p.timelineID:
		return fmt.Errorf("%w: its timeline %d is another one than the cursor's; it may be another database than the one that home follows", ErrLateSource, p.timeline)
	}
	return nil
}

// passed tells whether all that the page's tick shows has been applied here. On
// an idle log the source is asked: ticks go on there, and the cursor's row does
// not for minutes.
func (c homeCursor) passed(ctx context.Context, source eventlog.DB, p *page) (bool, error) {
	if c.Timeline.Ordinal == p.timeline && c.Timeline.ID == p.timelineID && c.Tick >= p.tick {
		return true, nil
	}
	var reached bool
	if c.knows(p) == nil {
		if err := source.QueryRow(ctx, refetchSQL.Reached, c.Tick, c.Nonce, p.tick, p.timeline).Scan(&reached); err != nil {
			return false, fmt.Errorf("find events beyond the cursor: %w", err)
		}
	}
	return reached, nil
}

// lockFloor returns [ErrLateSource] for a page of a time whose tombstones may be
// gone: what it shows can have been deleted since. Otherwise no tombstone of the kind is
// purged before tx ends. It is the transaction's first lock, but for that of the
// selection.
func lockFloor(ctx context.Context, tx pgx.Tx, p *page) error {
	if err := holdSelection(ctx, tx, p); err != nil {
		return err
	}
	for range 2 {
		var above bool
		err := tx.QueryRow(ctx, refetchSQL.Floor, p.kind, p.timeline, p.tick).Scan(&above)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			// A purge waits for the lock of a row alone.
			_, err = tx.Exec(ctx, "INSERT INTO casq.registry_floors (kind, timeline, tick) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING", p.kind)
			if err != nil {
				return fmt.Errorf("make a floor: %w", err)
			}
		case err != nil:
			return fmt.Errorf("lock the floor: %w", err)
		case !above:
			return fmt.Errorf("%w: it shows tick %d, tombstones of later ones are gone", ErrLateSource, p.tick)
		default:
			return nil
		}
	}
	return fmt.Errorf("lock the floor of %s: it is not there", p.kind)
}

// applyResources asks for what the page shows and the rows do not say; see
// refetchSQL.Apply.
func applyResources(ctx context.Context, tx pgx.Tx, p *page, again, holes bool) ([]registry.Job, error) {
	if len(p.keys) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, refetchSQL.Apply, p.kind, p.keys, p.payloads, p.timeline, p.tick, again, p.scopes, holes)
	if err != nil {
		return nil, fmt.Errorf("ask for %d resources: %w", len(p.keys), err)
	}
	jobs, err := registry.CollectJobs(rows)
	if err != nil {
		return nil, fmt.Errorf("ask for %d resources: %w", len(p.keys), err)
	}
	return jobs, nil
}

// removeRows asks for the removal of what the page did not show, under the
// versions that were there before it was read.
func removeRows(ctx context.Context, tx pgx.Tx, p *page, versions map[string]int64) ([]registry.Job, error) {
	if len(versions) == 0 {
		return nil, nil
	}
	keys := make([]string, 0, len(versions))
	for key := range versions {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	under := make([]int64, len(keys))
	for i, key := range keys {
		under[i] = versions[key]
	}
	if err := registry.LockRows(ctx, tx, p.kind, keys); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, refetchSQL.Remove, p.kind, keys, under, p.timeline, p.tick)
	if err != nil {
		return nil, fmt.Errorf("ask for the removal of %d resources: %w", len(keys), err)
	}
	jobs, err := registry.CollectJobs(rows)
	if err != nil {
		return nil, fmt.Errorf("ask for the removal of %d resources: %w", len(keys), err)
	}
	return jobs, nil
}
