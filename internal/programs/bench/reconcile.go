package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/programs/bench/measure"
	"casq/registry"
	"casq/registry/reconcile"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const reconcileCount = 500_000

// benchJoin asks at once what a reconcile asks page by page.
const benchJoin = `SELECT count(*) FROM bench_resources AS t
	FULL JOIN (SELECT * FROM casq.registry WHERE kind = 'bench') AS r ON r.resource_id = t.path COLLATE "C"
	WHERE r.resource_id IS NULL OR t.path IS NULL OR r.payload <> jsonb_build_object('id', t.id, 'sha256', t.sha256)`

// reconcileAll: resources a second through a comparison in both directions that finds
// nothing, against the FULL JOIN of the same two tables.
func reconcileAll(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.DB.Exec(ctx, "CREATE TABLE bench_resources (id bigint, path text PRIMARY KEY, sha256 text)"); err != nil {
		return nil, err
	}
	if err := s.addResources(ctx, reconcileCount/10); err != nil {
		return nil, err
	}
	_, smallPeak, err := s.reconcileRound(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.addResources(ctx, reconcileCount); err != nil {
		return nil, err
	}
	var peak uint64
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		took, roundPeak, err := s.reconcileRound(ctx)
		if err != nil {
			return err
		}
		f.Add("ours", reconcileCount/took.Seconds())
		peak = max(peak, roundPeak)
		start := time.Now()
		var differ int
		if err := s.DB.QueryRow(ctx, benchJoin).Scan(&differ); err != nil || differ != 0 {
			return fmt.Errorf("join: %d differ: %w", differ, err)
		}
		f.Add("reference", reconcileCount/time.Since(start).Seconds())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("reconcile", "ours", "reference", "resources/s",
		fmt.Sprintf("%d resources with as many rows, compared in both directions, in pages that hold no lock and no snapshot (keys in the order of bytes); peak heap %d MiB, with a tenth of the resources %d MiB; reference: one FULL JOIN",
			reconcileCount, peak>>20, smallPeak>>20))}, nil
}

// addResources brings the number of resources, and of rows that are synced, to n.
func (s *site) addResources(ctx context.Context, n int) error {
	for _, sql := range []string{
		"DO $$ BEGIN PERFORM casq.untrack(relation) FROM casq.tracked; END $$",
		"SELECT casq.define_kind('bench', 'file')",
		fmt.Sprintf(`INSERT INTO bench_resources SELECT i, 'builds/' || i %% 1000 || '/' || md5(i::text) || '.zip', md5(i::text) || md5(i::text)
			FROM generate_series(1 + (SELECT count(*) FROM bench_resources), %d) AS i`, n),
		`INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, verified_at)
			SELECT 'bench', path, 1, id, 1, jsonb_build_object('id', id, 'sha256', sha256), id AS version, id AS synced, now() FROM bench_resources
			ON CONFLICT DO NOTHING`,
		`SELECT casq.track('bench_resources', kind => 'bench', transfer => 'file', key_column => 'path', payload_columns => ARRAY['id', 'sha256'])`,
		"VACUUM ANALYZE bench_resources, casq.registry", "CHECKPOINT",
	} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare %d resources: %w", n, err)
		}
	}
	return nil
}

// reconcileRound compares all there are.
func (s *site) reconcileRound(ctx context.Context) (took time.Duration, peak uint64, err error) {
	process := uuid.New()
	if _, err := s.DB.Exec(ctx, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'bench', 1)", process); err != nil {
		return 0, 0, err
	}
	if _, err := eventlog.Tick(ctx, s.DB, true); err != nil {
		return 0, 0, err
	}
	_, err = s.DB.Exec(ctx, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce)
		SELECT 'registry', l.system_identifier, l.timeline, l.id, t.id, t.nonce FROM casq.ticks AS t JOIN casq.timelines AS l USING (timeline)
		ORDER BY t.id DESC LIMIT 1 ON CONFLICT (name) DO UPDATE SET tick = excluded.tick, nonce = excluded.nonce`)
	if err != nil {
		return 0, 0, err
	}
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		_, err := registry.Ask(ctx, tx, registry.Request{Kind: "bench", Reason: registry.Asked})
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return s.carryOut(ctx, process)
}

// carryOut runs a reconciler until nothing is left that was asked for.
func (s *site) carryOut(ctx context.Context, process uuid.UUID) (took time.Duration, peak uint64, err error) {
	r := reconcile.New(reconcile.Config{Home: s.DB, Source: s.DB, Jobs: s.queue, Process: process, Logger: s.log})
	stop, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	start := time.Now()
	group.Go(func() { r.Run(stop) })
	group.Go(func() { peak = peakHeap(stop) })
	err = s.until(ctx, "SELECT NOT EXISTS (SELECT FROM casq.reconcile_runs WHERE finished_at IS NULL)")
	took = time.Since(start)
	halt()
	group.Wait()
	return took, peak, err
}

// peakHeap is the most memory that the program's own data took until ctx was
// done, in bytes.
func peakHeap(ctx context.Context) (peak uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		metrics.Read(sample)
		peak = max(peak, sample[0].Value.Uint64())
		select {
		case <-ctx.Done():
			return peak
		case <-ticker.C:
		}
	}
}
