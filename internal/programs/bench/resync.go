package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/jobs"
	"casq/registry"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const resyncCount = 1_000_000

// resyncAll: resources a second of a resync of all, behind as many jobs that wait,
// against the insertion of as many bare jobs. Then, how long
// casq.why takes behind both.
func resyncAll(ctx context.Context) (_ []result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	client, err := river.NewClient(riverpgxv5.New(s.DB), &river.Config{Schema: jobs.Schema, FetchCooldown: jobs.FetchCooldown})
	if err != nil {
		return nil, err
	}
	reference, err := insertBare(ctx, client, resyncCount)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, verified_at)
			SELECT 'resource', 'resources/' || i, 1, i, 1, '{}', i AS version, i AS synced, now() FROM generate_series(1, %d) AS i`, resyncCount),
		fmt.Sprintf("SELECT setval('casq.registry_version', %d)", resyncCount),
		"VACUUM ANALYZE casq.registry, river.river_job", "CHECKPOINT",
	} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	done, err := registry.ResyncKind(ctx, s.DB, s.queue, "resource", registry.ResyncOptions{})
	if err != nil || done.Raised != resyncCount {
		return nil, fmt.Errorf("%d were asked for: %w", done.Raised, err)
	}
	ours := time.Since(start)
	start = time.Now()
	var why string
	if err := s.DB.QueryRow(ctx, "SELECT casq.why('resource', 'resources/777777')").Scan(&why); err != nil {
		return nil, err
	}
	return []result{{
		Bench: "resync", Ours: resyncCount / ours.Seconds(), Reference: resyncCount / reference.Seconds(), Unit: "resources/s",
		Note: fmt.Sprintf("%d resources asked for again in %s; behind %d jobs casq.why took %s; reference: InsertManyFast of as many jobs; one round",
			resyncCount, ours.Round(time.Millisecond), 2*resyncCount, time.Since(start).Round(time.Millisecond)),
	}}, nil
}
