package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const resyncCount = 25_000

// resyncAll: resources a second of a resync of all, behind as many jobs that wait,
// against the insertion of as many bare jobs. Then, how long
// casq.why takes behind both.
func resyncAll(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	client, err := river.NewClient(riverpgxv5.New(s.DB), &river.Config{Schema: jobs.Schema, FetchCooldown: jobs.FetchCooldown})
	if err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error { return s.resyncRound(ctx, client, f) })
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("resync", "ours", "bare", "resources/s",
		fmt.Sprintf("%d resources asked for again; behind %d jobs casq.why took %.0f ms; reference: InsertManyFast of as many jobs", resyncCount, 2*resyncCount, figures.Median("why")))}, nil
}

// resyncRound inserts bare jobs, and asks for as many resources behind them.
func (s *site) resyncRound(ctx context.Context, client *river.Client[pgx.Tx], f *measure.Figures) error {
	if err := s.empty(ctx); err != nil {
		return err
	}
	bare, err := insertBare(ctx, client, resyncCount)
	if err != nil {
		return err
	}
	f.Add("bare", resyncCount/bare.Seconds())
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, verified_at)
			SELECT 'resource', 'resources/' || i, 1, i, 1, '{}', i AS version, i AS synced, now() FROM generate_series(1, %d) AS i`, resyncCount),
		fmt.Sprintf("SELECT setval('casq.registry_version', %d)", resyncCount),
		"VACUUM ANALYZE casq.registry, river.river_job", "CHECKPOINT",
	} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return err
		}
	}
	start := time.Now()
	done, err := registry.ResyncKind(ctx, s.DB, s.queue, "resource", registry.ResyncOptions{})
	if err != nil || done.Raised != resyncCount {
		return fmt.Errorf("%d were asked for: %w", done.Raised, err)
	}
	f.Add("ours", resyncCount/time.Since(start).Seconds())
	start = time.Now()
	var why string
	if err := s.DB.QueryRow(ctx, "SELECT casq.why('resource', 'resources/7777')").Scan(&why); err != nil {
		return err
	}
	f.Add("why", measure.Milliseconds(start))
	return nil
}
