// Package retention deletes what was kept for long enough: events and ticks
// that nobody needs any more, tombstones of resources that are gone, old reports.
//
// Any number of processes may do it at once, and each may stop anywhere: every
// transaction deletes a bounded number, and leaves what it found true. What has
// to be kept, and in which order it goes, is said in casq/eventlog for the
// log, and in retentionSQL.Purge for tombstones.
package retention

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed retention.sql
var retentionText string

// retentionSQL has the statements of retention.sql.
var retentionSQL = queries.Parse[struct {
	Tombstones, Floors, Lock, Purge, Runs, Failures, Refreshes, Unchanged, Scans, Audit, Workers, Delays string
}]("retention", retentionText)

// The defaults of [Config].
const (
	DefaultEvents     = 7 * 24 * time.Hour
	DefaultTombstones = 7 * 24 * time.Hour
	DefaultReports    = 30 * 24 * time.Hour
	DefaultRecounts   = 30 * 24 * time.Hour
	DefaultAudit      = 365 * 24 * time.Hour
	unchanged         = time.Hour
	killedWorkers     = 24 * time.Hour
	defaultInterval   = 5 * time.Minute
	defaultBatch      = 1000
)

// Config says what is kept, and for how long.
type Config struct {
	Home   *pgxpool.Pool
	Logger *slog.Logger

	Events     time.Duration // ticks and their events; see casq.prune_ticks
	Tombstones time.Duration // rows of resources that are gone
	Reports    time.Duration // of reconciles, and of events that were replayed
	// Recounts is how long recounts are kept, with the certificates of counters that
	// were asked for, or differed. Those that a recount of all scopes has found as
	// they were are kept for an hour, for who waits for it: one a minute of 300
	// scopes would leave 13 million in 30 days.
	Recounts time.Duration
	Audit    time.Duration // who asked for what

	Interval time.Duration // between two rounds, about; defaults to 5 minutes
	Batch    int           // rows per transaction at home; defaults to 1000
}

func (c Config) withDefaults() Config {
	c.Events = cmp.Or(c.Events, DefaultEvents)
	c.Tombstones = cmp.Or(c.Tombstones, DefaultTombstones)
	c.Reports = cmp.Or(c.Reports, DefaultReports)
	c.Recounts = cmp.Or(c.Recounts, DefaultRecounts)
	c.Audit = cmp.Or(c.Audit, DefaultAudit)
	c.Interval = cmp.Or(c.Interval, defaultInterval)
	c.Batch = cmp.Or(c.Batch, defaultBatch)
	return c
}

// Run does a round now and then until ctx is done. Errors are logged; the next
// round tries again.
func Run(ctx context.Context, c Config) {
	c = c.withDefaults()
	// Not all workers at once, and not with every start.
	for pause.For(ctx, c.Interval/2+rand.N(c.Interval)) == nil {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.Logger.WarnContext(ctx, "cannot delete what was kept for long enough, trying again", "err", err)
		}
	}
}

// Round deletes all that may go. A home in recovery deletes nothing: what is
// deleted on its primary goes here too.
func Round(ctx context.Context, c Config) error { return c.withDefaults().round(ctx) }

func (c Config) round(ctx context.Context) error {
	var standby bool
	if err := c.Home.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil || standby {
		return err
	}
	pruned, errLog := eventlog.Prune(ctx, c.Home, c.Events, eventlog.Pruning{})
	purged, errTombstones := c.purge(ctx)
	runs, errRuns := c.drop(ctx, retentionSQL.Runs, c.Reports, "reports")
	failures, errFailures := c.drop(ctx, retentionSQL.Failures, c.Reports, "replayed events")
	same, errSame := c.drop(ctx, retentionSQL.Unchanged, min(unchanged, c.Recounts), "certificates of what was right")
	refreshes, errRefreshes := c.drop(ctx, retentionSQL.Refreshes, c.Recounts, "certificates of recounts")
	scans, errScans := c.drop(ctx, retentionSQL.Scans, c.Recounts, "recounts")
	requests, errAudit := c.drop(ctx, retentionSQL.Audit, c.Audit, "requests of operators")
	refreshes += same
	_, errWorkers := c.drop(ctx, retentionSQL.Workers, killedWorkers, "rows of workers that were killed")
	_, errDelays := c.drop(ctx, retentionSQL.Delays, DefaultReports, "delays of cursors")
	if pruned.Ticks+pruned.Events+purged+runs+failures+refreshes+scans+requests > 0 {
		c.Logger.InfoContext(ctx, "deleted what was kept for long enough", "ticks", pruned.Ticks, "events", pruned.Events,
			"tombstones", purged, "reports", runs, "failures", failures, "recounts", refreshes, "requests", requests)
	}
	return errors.Join(errLog, errTombstones, errRuns, errFailures, errSame, errRefreshes, errScans, errAudit, errWorkers, errDelays)
}

// purge deletes old tombstones, batch by batch.
func (c Config) purge(ctx context.Context) (total int64, err error) {
	for {
		found, purged, err := c.purgeBatch(ctx)
		total += purged
		if err != nil {
			return total, fmt.Errorf("purge tombstones: %w", err)
		}
		// What was found and has become busy since is for the next round.
		if found < c.Batch || purged == 0 {
			return total, nil
		}
	}
}

func (c Config) purgeBatch(ctx context.Context) (found int, purged int64, err error) {
	var kinds, keys []string
	rows, err := c.Home.Query(ctx, retentionSQL.Tombstones, c.Tombstones, c.Batch)
	if err != nil {
		return 0, 0, err
	}
	var kind, key string
	_, err = pgx.ForEachRow(rows, []any{&kind, &key}, func() error {
		kinds, keys = append(kinds, kind), append(keys, key)
		return nil
	})
	if err != nil || len(keys) == 0 {
		return 0, 0, err
	}
	err = pgx.BeginTxFunc(ctx, c.Home, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, retentionSQL.Floors, kinds); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, retentionSQL.Lock, kinds); err != nil {
			return err
		}
		return tx.QueryRow(ctx, retentionSQL.Purge, kinds, keys, c.Tombstones).Scan(&purged)
	})
	return len(keys), purged, err
}

// drop deletes old rows by a statement that deletes a batch of them.
func (c Config) drop(ctx context.Context, sql string, age time.Duration, what string) (total int64, err error) {
	for {
		tag, err := c.Home.Exec(ctx, sql, age, c.Batch)
		if err != nil {
			return total, fmt.Errorf("delete old %s: %w", what, err)
		}
		total += tag.RowsAffected()
		if tag.RowsAffected() < int64(c.Batch) {
			return total, nil
		}
	}
}
