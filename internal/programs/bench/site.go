package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/redisurl"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// site is a durable server with a migrated database, and a Redis.
type site struct {
	*sites.Site
	redis redis.UniversalClient
	queue *jobs.Queue
	log   *slog.Logger
}

func newSite(ctx context.Context) (*site, error) {
	started, err := sites.Start(ctx, sites.Options{
		Postgres: servers.PostgresOptions{
			Durable: true,
			Settings: map[string]string{
				"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min",
				"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_naptime": "10s",
			},
		},
		Redis: &servers.RedisOptions{}, Pool: &database.Options{MaxConns: 30},
	})
	if err != nil {
		return nil, err
	}
	s := &site{Site: started, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) prepare(ctx context.Context) (err error) {
	if s.redis, err = redisurl.Open(s.Redis.URL()); err != nil {
		return err
	}
	if s.queue, err = jobs.NewQueue(s.DB, s.log); err != nil {
		return err
	}
	_, err = s.DB.Exec(ctx, "SELECT casq.define_kind('resource', 'none')")
	return err
}

func (s *site) close() (err error) {
	if s.redis != nil {
		err = s.redis.Close()
	}
	return errors.Join(err, s.Stop())
}

// addStandby starts a standby that has all that the primary has.
func (s *site) addStandby(ctx context.Context) (*pgxpool.Pool, error) {
	standby, err := s.Primary.Standby(ctx, servers.StandbyOptions{})
	if err != nil {
		return nil, err
	}
	s.Standbys = append(s.Standbys, standby)
	if err := standby.WaitReplayed(ctx, s.Primary); err != nil {
		return nil, err
	}
	return database.Open(ctx, standby.URL("postgres"), database.Options{})
}

// empty begins a round: no rows, no jobs, no leftovers to be vacuumed or
// flushed on the time of the next measurement.
func (s *site) empty(ctx context.Context) error {
	for _, sql := range []string{
		"TRUNCATE river.river_job, casq.registry, casq.events, casq.ticks, casq.timelines, casq.cursors, casq.targets",
		"VACUUM ANALYZE", "CHECKPOINT",
	} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare a round: %w", err)
		}
	}
	return nil
}

// append commits n events of n resources in transactions of 1000, and ticks.
func (s *site) append(ctx context.Context, n int) error {
	if _, err := eventlog.Tick(ctx, s.DB, true); err != nil {
		return err
	}
	for done := 0; done < n; done += 1000 {
		_, err := s.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, scope_id, size_delta, item_delta, payload)
			SELECT 'resource', 'resources/' || i, 'created', (i % 100)::text, 4096, 1, jsonb_build_object('id', i)
			FROM generate_series($1::int, $2::int) AS i`, done+1, min(done+1000, n))
		if err != nil {
			return fmt.Errorf("append events: %w", err)
		}
	}
	_, err := eventlog.Tick(ctx, s.DB, true)
	return err
}

// follow runs the registry's cursor until n events are transposed, and returns
// how long that took.
func (s *site) follow(ctx context.Context, n int) (time.Duration, error) {
	return s.followUntil(ctx, fmt.Sprintf(`SELECT (SELECT coalesce(max(tick), 0) FROM casq.cursors) = (SELECT max(id) FROM casq.ticks)
		AND (SELECT count(*) FROM (SELECT FROM casq.registry LIMIT %d) AS r) = %d`, n, n))
}

func (s *site) followUntil(ctx context.Context, sql string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	stop, halt := context.WithCancel(ctx)
	defer halt()
	c := cursor.New(cursor.Config{
		Name: "registry", Source: s.DB, Home: s.DB, Logger: s.log,
		Consumer: &registry.Transposer{Jobs: s.queue},
	})
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- c.Run(stop) }()
	err := s.until(ctx, sql)
	took := time.Since(start)
	halt()
	return took, errors.Join(err, <-done)
}

// until polls for a condition.
func (s *site) until(ctx context.Context, sql string) error {
	for {
		var met bool
		if err := s.DB.QueryRow(ctx, sql).Scan(&met); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if met {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
