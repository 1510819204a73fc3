package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/retention"

	"github.com/jackc/pgx/v5"
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
		Events: w.cfg.EventRetention, Tombstones: w.cfg.TombstoneRetention, Recounts: w.cfg.RefreshRetention,
	})
}

// position is the one that home has stored; none (pgx.ErrNoRows) before the
// cursor's first start.
func (w *worker) position(ctx context.Context) (p eventlog.Position, err error) {
	err = w.home.QueryRow(ctx, workerSQL.Position).Scan(p.Fields()...)
	if err != nil {
		err = fmt.Errorf("read the stored position: %w", err)
	}
	return p, err
}

// continues returns true when a log that did not continue does so again: an
// operator has moved the cursor, or pointed to the right source. It returns
// false when ctx is done.
func (w *worker) continues(ctx context.Context) bool {
	reader := eventlog.NewReader(w.source, 1)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(2 * time.Second):
		}
		p, err := w.position(ctx)
		if err == nil {
			_, err = reader.Next(ctx, p)
		}
		if err == nil {
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
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (r *reporter) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	p, err := r.position(ctx)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && p == r.last && time.Since(r.at) < reportAtLeast {
		return nil
	}
	if err != nil {
		return err
	}
	if r.name == "" {
		if err := r.home.QueryRow(ctx, workerSQL.Follower).Scan(&r.name); err != nil {
			return fmt.Errorf("name this site: %w", err)
		}
	}
	known, err := eventlog.ReportFollower(ctx, r.primary, r.name, p)
	if err != nil {
		return err
	}
	if !known && p != r.last {
		r.log.WarnContext(ctx, "the log that positions are reported to does not have this one, nothing is kept there", "tick", p.Tick)
	}
	r.last, r.at = p, time.Now()
	return nil
}
