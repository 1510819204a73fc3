package worker

import (
	"context"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/retention"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
)

// How often this site reports: soon after it has moved, and now and then in any
// case, so that its report counts while nothing happens.
const (
	reportEvery   = 10 * time.Second
	reportAtLeast = 2 * time.Minute
)

// retain deletes what was kept for long enough, as one of any number of workers.
func (w *worker) retain(ctx context.Context) {
	retention.Run(ctx, retention.Config{
		Home: w.home, Logger: w.log,
		Events: w.cfg.EventRetention, Tombstones: w.cfg.TombstoneRetention, Recounts: w.cfg.RefreshRetention, Audit: w.cfg.AuditRetention,
	})
}

// continues returns true when a log that did not continue does so again: an
// operator has moved the cursor, or pointed to the right source. It returns
// false when ctx is done.
func (w *worker) continues(ctx context.Context) bool {
	reader := eventlog.NewReader(w.source, 1)
	for {
		if pause.For(ctx, 2*time.Second) != nil {
			return false
		}
		at, started, err := cursor.Position(ctx, w.home, registry.Cursor)
		if err != nil || !started {
			continue
		}
		if _, err := reader.Next(ctx, at); err == nil {
			return true
		}
	}
}

// reporter tells the primary of the log that is followed how far home has come.
type reporter struct {
	*worker
	primary *pgxpool.Pool
	name    string
	last    eventlog.Position
	at      time.Time
}

// report reports until ctx is done. Following does not depend on it: errors are
// logged, and tried again.
func (w *worker) report(ctx context.Context) {
	if w.cfg.ReportURL == "" {
		return
	}
	primary, err := database.Open(ctx, w.cfg.ReportURL, database.Options{Application: "casq follower", MaxConns: 1})
	if err != nil {
		w.log.ErrorContext(ctx, "cannot report positions", "err", fmt.Errorf("open the primary of the source: %w", err))
		return
	}
	defer primary.Close()
	r := &reporter{worker: w, primary: primary}
	for {
		wait := reportEvery
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "cannot report the position, trying again", "err", err)
			wait = reportAtLeast / 2
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

func (r *reporter) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	p, started, err := cursor.Position(ctx, r.home, registry.Cursor)
	if err != nil {
		return err
	}
	if !started || p == r.last && time.Since(r.at) < reportAtLeast {
		return nil
	}
	if r.name == "" {
		if err := r.home.QueryRow(ctx, workerSQL.Follower).Scan(&r.name); err != nil {
			return fmt.Errorf("name this site: %w", err)
		}
	}
	var left eventlog.Left
	if err := r.home.QueryRow(ctx, "SELECT sum(resources)::bigint, least(sum(bytes), 9223372036854775807)::bigint FROM casq.at_risk").Scan(&left.Resources, &left.Bytes); err != nil {
		return fmt.Errorf("read what is not in place: %w", err)
	}
	known, err := eventlog.ReportFollower(ctx, r.primary, r.name, p, left)
	if err != nil {
		return err
	}
	if !known && p != r.last {
		r.log.WarnContext(ctx, "the log that positions are reported to does not have this one, nothing is kept there", "tick", p.Tick)
	}
	r.last, r.at = p, time.Now()
	return nil
}
