package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/internal/metrics"
	"casq/internal/programs/bench/measure"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

const (
	syncCount   = 20_000
	syncWorkers = 2_000
)

// syncJobs: jobs a second of claim, no-op copy, commit and completion, against
// River's no-op jobs with the same settings; and with metrics, against without.
func syncJobs(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for _, side := range []struct {
			name string
			work func() (time.Duration, error)
		}{
			{"bare", func() (time.Duration, error) { return s.workBare(ctx, syncCount) }},
			{"ours", func() (time.Duration, error) { return s.workSync(ctx, syncCount, nil) }},
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
		figures.Compare("sync", "ours", "bare", "jobs/s", fmt.Sprintf("%d jobs of a kind without bytes, %d workers; reference: River's no-op jobs", syncCount, syncWorkers)),
		figures.Compare("sync/metrics", "told", "ours", "jobs/s", "the same with all that is counted and sampled for /metrics; reference: without"),
	}, nil
}

// bareArgs is a no-op job of the same shape as ours.
type bareArgs struct {
	jobs.SyncArgs
}

func (bareArgs) Kind() string { return "bench_bare" }

type bareWorker struct {
	river.WorkerDefaults[bareArgs]
}

func (*bareWorker) Work(context.Context, *river.Job[bareArgs]) error { return nil }

func (s *site) workBare(ctx context.Context, n int) (time.Duration, error) {
	if err := s.empty(ctx); err != nil {
		return 0, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &bareWorker{})
	client, err := s.client("bench", workers)
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
	return s.drain(ctx, client)
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
	if took, err = s.drain(ctx, client); err != nil {
		return 0, err
	}
	if synced := work.Stats.Of(jobs.Synced); synced != int64(n) {
		return 0, fmt.Errorf("%d of %d jobs were synced", synced, n)
	}
	return took, nil
}

func (s *site) client(id string, workers *river.Workers, plugins ...rivertype.Plugin) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(s.DB), &river.Config{
		ID: id, Schema: jobs.Schema, Logger: s.log, Workers: workers,
		Plugins:       plugins,
		Queues:        map[string]river.QueueConfig{"resource": {MaxWorkers: syncWorkers}},
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
}

// drain works on what is queued and returns how long that took, completions
// included.
func (s *site) drain(ctx context.Context, client *river.Client[pgx.Tx]) (time.Duration, error) {
	if _, err := s.DB.Exec(ctx, "VACUUM ANALYZE river.river_job, casq.registry"); err != nil {
		return 0, err
	}
	if _, err := s.DB.Exec(ctx, "CHECKPOINT"); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	err := s.until(ctx, "SELECT NOT EXISTS (SELECT FROM river.river_job WHERE state = 'available') AND NOT EXISTS (SELECT FROM river.river_job WHERE state IN ('running', 'retryable', 'scheduled'))")
	took := time.Since(start)
	return took, errors.Join(err, client.Stop(context.WithoutCancel(ctx)))
}
