// Package view has the images of tracked views follow their sources.
//
// # Guarantee
//
// What is committed to the sources of a tracked view (casq.track_view) is in its image, and
// so in the log, once it is shown by a tick that this package has come past: the image is
// the view as of one snapshot or another since then. The application's transactions only note which rows
// they have changed; they evaluate nothing, wait for nobody, and do not fail for it.
//
// DESIGN.md tells how, what happens when a process dies, and what was rejected.
package view

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

//go:embed view.sql
var viewText string

// viewSQL has the statements of view.sql.
var viewSQL = queries.Parse[struct{ Apply, Compare, Due, Do, Watch, Prune string }]("view", viewText)

// Cursor is the name of the cursor that reads what has changed in the sources.
const Cursor = "views"

const (
	// pageRows and pageBytes bound a batch of notes. Each has 200 rows at most; together
	// they lead to some thousands of ids, which take a second at most.
	pageRows  = 2000
	pageBytes = 256 << 10

	dueEvery   = 500 * time.Millisecond
	watchEvery = 10 * time.Second
)

// Config says what a worker follows views with.
type Config struct {
	Home   *pgxpool.Pool // the primary that has the views
	Redis  redis.UniversalClient
	Logger *slog.Logger
	Lease  time.Duration // see [cursor.Config]
	Wait   time.Duration // see [cursor.Config]
	// CompareEvery is how long after a comparison of a view with its image the next one is
	// due, though nothing is known to be missed. Defaults to a day.
	CompareEvery time.Duration
	// Applied is called with each batch of changes that was applied. May be nil.
	Applied func(batch eventlog.Batch)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Run follows the tracked views until ctx is done, and returns nil then. Any number of
// processes may run it. It returns the error of a log that does not continue: see
// [cursor.Cursor.Run].
func Run(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keeper := newKeeper(cfg)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { keeper.every(ctx, dueEvery, "do what is due of tracked views", keeper.round) })
	group.Go(func() { keeper.every(ctx, watchEvery, "watch the sources of tracked views", keeper.watch) })
	err := cursor.New(cursor.Config{
		Name: Cursor, Source: cfg.Home, Home: cfg.Home, Listens: true, Consumer: consumer{}, Changes: true, Logger: cfg.Logger,
		Redis: cfg.Redis, Lease: cfg.Lease, Wait: cfg.Wait, PageSize: pageRows, PageBytes: pageBytes, Applied: cfg.Applied, Hook: cfg.Hook,
	}).Run(ctx)
	if err != nil {
		return fmt.Errorf("follow the sources of tracked views: %w", err)
	}
	return nil
}

// consumer applies what has changed in sources to the images.
type consumer struct{}

// Apply implements [cursor.Consumer].
func (consumer) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	sources := make([]int, len(batch.Events))
	rows := make([]*string, len(batch.Events))
	for i, e := range batch.Events {
		var err error
		if sources[i], err = strconv.Atoi(e.ResourceID); err != nil {
			return fmt.Errorf("read the number of a source: %w", err)
		}
		if e.Payload != nil {
			rows[i] = new(string(e.Payload))
		}
	}
	if _, err := tx.Exec(ctx, viewSQL.Apply, sources, rows); err != nil {
		return fmt.Errorf("apply %d changes of sources: %w", len(batch.Events), err)
	}
	return nil
}

// Rewound implements [cursor.Rewinder]: what is not read is made good for by comparing.
func (consumer) Rewound(ctx context.Context, tx pgx.Tx, _ eventlog.Rewind) error {
	if _, err := tx.Exec(ctx, viewSQL.Compare); err != nil {
		return fmt.Errorf("have tracked views compared: %w", err)
	}
	return nil
}

// keeper does what is not for the log to tell: views are filled and compared, ids that have
// to wait are evaluated, and sources are watched.
type keeper struct {
	Config
	told map[string]bool
}

func newKeeper(cfg Config) *keeper {
	cfg.CompareEvery = cmp.Or(cfg.CompareEvery, 24*time.Hour)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	return &keeper{cfg, make(map[string]bool)}
}

func (k *keeper) every(ctx context.Context, interval time.Duration, what string, round func(context.Context) error) {
	pause.Every(ctx, interval, func() {
		if err := round(ctx); err != nil && ctx.Err() == nil {
			k.Logger.WarnContext(ctx, "a round of tracked views failed, trying again", "round", what, "err", err)
		}
	})
}

// round does pages of all that is due, by turns, until nothing is left that can be done now.
// A view whose page fails does not keep the others waiting.
func (k *keeper) round(ctx context.Context) (failed error) {
	for more := true; more; {
		more, failed = false, nil
		rows, err := k.Home.Query(ctx, viewSQL.Due, k.CompareEvery)
		if err != nil {
			return fmt.Errorf("find what is due of tracked views: %w", err)
		}
		kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("find what is due of tracked views: %w", err)
		}
		for _, kind := range kinds {
			var did bool
			if err := k.Home.QueryRow(ctx, viewSQL.Do, kind, k.CompareEvery).Scan(&did); err != nil {
				failed = errors.Join(failed, fmt.Errorf("evaluate a page of the view of kind %s: %w", kind, err))
			}
			more = more || did
			k.Hook("view:page")
		}
	}
	return failed
}

// watch finds what was done to sources, logs each finding once, and deletes what was read.
func (k *keeper) watch(ctx context.Context) error {
	rows, err := k.Home.Query(ctx, viewSQL.Watch)
	if err != nil {
		return fmt.Errorf("look at the sources: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look at the sources: %w", err)
	}
	for _, said := range found {
		if !k.told[said] {
			k.Logger.WarnContext(ctx, "changes of a tracked view's source are not followed as they should be", "found", said)
		}
		k.told[said] = true
	}
	return k.prune(ctx)
}

func (k *keeper) prune(ctx context.Context) error {
	for n := int64(1); n > 0; {
		if err := k.Home.QueryRow(ctx, viewSQL.Prune).Scan(&n); err != nil {
			return fmt.Errorf("delete changes of sources that were read: %w", err)
		}
	}
	return nil
}
