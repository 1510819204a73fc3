package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"casq/internal/metrics"
	"casq/internal/pause"
	"casq/internal/programs/bench/measure"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

const (
	syncCount   = 20_000
	syncWorkers = 2_000
)

// The references' schemas: River as its own migrations make it, and without the two GIN
// indexes, which casq drops.
const (
	stockSchema = "stock"
	leanSchema  = "lean"
)

// syncJobs: jobs a second of claim, no-op copy, commit and completion, against no-op jobs
// of River as it comes, with the same settings; against the same without the indexes that
// casq drops, too; and with metrics, against without.
func syncJobs(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.addRivers(ctx); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for _, side := range []struct {
			name string
			work func() (time.Duration, error)
		}{
			{"stock", func() (time.Duration, error) { return s.workBare(ctx, stockSchema, syncCount) }},
			{"ours", func() (time.Duration, error) { return s.workSync(ctx, syncCount, nil) }},
			{"lean", func() (time.Duration, error) { return s.workBare(ctx, leanSchema, syncCount) }},
			{"told", func() (time.Duration, error) { return s.workSync(ctx, syncCount, metrics.New()) }},
		} {
			took, err := side.work()
			if err != nil {
				return err
			}
			f.Add(side.name, syncCount/took.Seconds())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{
		figures.Compare("sync", "ours", "stock", "jobs/s", fmt.Sprintf("%d jobs of a kind without bytes, %d workers; reference: River's no-op jobs, in the tables that its migrations make", syncCount, syncWorkers)),
		figures.Compare("sync/lean", "ours", "lean", "jobs/s", "the same; reference: likewise, without River's two GIN indexes, which casq drops"),
		figures.Compare("sync/metrics", "told", "ours", "jobs/s", "the same with all that is counted and sampled for /metrics; reference: without"),
	}, nil
}

// addRivers makes the references' schemas.
func (s *site) addRivers(ctx context.Context) error {
	for _, schema := range []string{stockSchema, leanSchema} {
		if _, err := s.DB.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
			return fmt.Errorf("make schema %s: %w", schema, err)
		}
		migrator, err := rivermigrate.New(riverpgxv5.New(s.DB), &rivermigrate.Config{Schema: schema, Logger: s.log})
		if err != nil {
			return fmt.Errorf("prepare River's migrations: %w", err)
		}
		if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("apply River's migrations: %w", err)
		}
	}
	if _, err := s.DB.Exec(ctx, "DROP INDEX lean.river_job_args_index, lean.river_job_metadata_index"); err != nil {
		return fmt.Errorf("drop two of River's indexes: %w", err)
	}
	return nil
}

// bareArgs is a no-op job of the same shape as ours.
type bareArgs struct {
	jobs.SyncArgs
}

func (bareArgs) Kind() string { return "bench_bare" }

type bareWorker struct {
	river.WorkerDefaults[bareArgs]
	worked atomic.Int64
}

func (w *bareWorker) Work(context.Context, *river.Job[bareArgs]) error {
	w.worked.Add(1)
	return nil
}

func (s *site) workBare(ctx context.Context, schema string, n int) (time.Duration, error) {
	if _, err := s.DB.Exec(ctx, "TRUNCATE "+schema+".river_job"); err != nil {
		return 0, err
	}
	if err := s.empty(ctx); err != nil {
		return 0, err
	}
	worker, workers := &bareWorker{}, river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := s.clientIn(schema, "bench", workers)
	if err != nil {
		return 0, err
	}
	for done := 0; done < n; done += batch {
		params := make([]river.InsertManyParams, 0, batch)
		for i := done; i < done+batch; i++ {
			args := bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: fmt.Sprintf("resources/%d", i), Version: int64(i + 1)}}
			params = append(params, river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{Queue: "resource"}})
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return 0, err
		}
	}
	return s.drain(ctx, client, schema, n, worker.worked.Load)
}

// workSync works with metrics, if there are any.
func (s *site) workSync(ctx context.Context, n int, m *metrics.Metrics) (time.Duration, error) {
	if err := s.empty(ctx); err != nil {
		return 0, err
	}
	if err := s.append(ctx, n); err != nil {
		return 0, err
	}
	if _, err := s.follow(ctx, n); err != nil {
		return 0, err
	}
	return s.workQueued(ctx, n, m)
}

// workQueued works on the jobs that are queued, n of them.
func (s *site) workQueued(ctx context.Context, n int, m *metrics.Metrics) (took time.Duration, err error) {
	process := registry.NewProcess(registry.ProcessConfig{Pool: s.DB, Queue: s.queue, Logger: s.log})
	if err := process.Start(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, process.Stop(ctx)) }()
	cfg := jobs.Config{
		Registry: registry.New(registry.Config{Pool: s.DB, Jobs: s.queue, Logger: s.log}, process),
		Process:  process, Queue: s.queue, Logger: s.log, Stopping: ctx.Done(),
	}
	var plugins []rivertype.Plugin
	if m != nil {
		cfg.Counted = func(kind string, stat jobs.Stat, n int64) { m.Add("casq_runs_total", float64(n), kind, stat.String()) }
		plugins = append(plugins, m.River())
		sampling, stop := context.WithCancel(ctx)
		var group sync.WaitGroup
		group.Go(func() { m.Sample(sampling, s.DB, nil, s.log) })
		defer group.Wait()
		defer stop()
	}
	work := jobs.New(cfg)
	workers := river.NewWorkers()
	work.Register(workers)
	client, err := s.client(process.ID().String(), workers, plugins...)
	if err != nil {
		return 0, err
	}
	return s.drain(ctx, client, jobs.Schema, n, func() int64 { return work.Stats.Of(jobs.Synced) })
}

func (s *site) client(id string, workers *river.Workers, plugins ...rivertype.Plugin) (*river.Client[pgx.Tx], error) {
	return s.clientIn(jobs.Schema, id, workers, plugins...)
}

func (s *site) clientIn(schema, id string, workers *river.Workers, plugins ...rivertype.Plugin) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(s.DB), &river.Config{
		ID: id, Schema: schema, Logger: s.log, Workers: workers,
		Plugins:       plugins,
		Queues:        map[string]river.QueueConfig{"resource": {MaxWorkers: syncWorkers}},
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
}

// drainTimeout is for n jobs; on a machine that does nothing else they take some seconds.
const drainTimeout = 5 * time.Minute

// drain works on the n jobs that are queued and returns how long that took, completions
// included. The database is asked only once all were worked on: asking all the while took a
// tenth of its time.
func (s *site) drain(ctx context.Context, client *river.Client[pgx.Tx], schema string, n int, worked func() int64) (time.Duration, error) {
	for _, sql := range []string{"VACUUM ANALYZE " + schema + ".river_job, casq.registry", "CHECKPOINT"} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return 0, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	start := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	var err error
	for worked() < int64(n) && err == nil {
		err = pause.For(waiting, time.Millisecond)
	}
	if err == nil {
		err = s.until(waiting, fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM %[1]s.river_job WHERE state = 'available')
			AND NOT EXISTS (SELECT FROM %[1]s.river_job WHERE state IN ('running', 'retryable', 'scheduled'))`, schema))
	}
	took := time.Since(start)
	if err != nil {
		err = fmt.Errorf("wait for %d jobs, of which %d were worked: %w", n, worked(), err)
	}
	return took, errors.Join(err, client.Stop(context.WithoutCancel(ctx)))
}
