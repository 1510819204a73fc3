package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// endedJobRetention is how long a job is kept that has not done its work:
// it is in the queue when an operator asks what went wrong.
const endedJobRetention = 7 * 24 * time.Hour

// keeperEvery is how often what runs in this process's name is compared with what
// it works on.
const keeperEvery = 10 * time.Second

// sync works on jobs until ctx is done. A session ends early when this process
// was taken for dead; the next one has an id that was never used.
func (w *worker) sync(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.session(ctx); err != nil && ctx.Err() == nil {
			w.roles.set(w.sessionRole(), false, database.Explain(err))
			w.log.ErrorContext(ctx, "cannot work on jobs, trying again", "err", err)
			_ = pause.For(ctx, time.Second)
		}
	}
}

// sessionRole is what a session is for.
func (w *worker) sessionRole() string {
	if w.cfg.copies() {
		return "sync"
	}
	return "jobs"
}

// session is the time of one registered process and its River client.
func (w *worker) session(ctx context.Context) error {
	process := registry.NewProcess(registry.ProcessConfig{
		Pool: w.home, Queue: w.queue, Logger: w.log, ClaimTTL: w.cfg.ClaimTTL,
		Swept: w.sweepStaging, SweepAside: func(ctx context.Context) error { return w.movers.byTransfer.SweepAside(ctx, w.home) },
	})
	work := jobs.New(jobs.Config{
		Registry: registry.New(registry.Config{
			Pool: w.home, Jobs: w.queue, Logger: w.log, PublishTimeout: w.cfg.PublishTimeout, Hook: w.cfg.Hook,
		}, process),
		Process:    process,
		Queue:      w.queue,
		Transfers:  w.movers.byTransfer,
		Logger:     w.log,
		Timeouts:   w.cfg.Timeouts,
		SizeLimits: w.cfg.SizeLimits,
		ClaimTTL:   w.cfg.ClaimTTL,
		Stopping:   ctx.Done(),
		Counted:    w.countRun,
		Hook:       w.cfg.Hook,
	})
	workers := river.NewWorkers()
	work.Register(workers)
	counters := w.registerCounters(workers, process.ID())
	present := jobs.NewPresent()
	client, err := w.newClient(ctx, process, workers, present)
	if err != nil {
		return err
	}
	if err := w.queue.ReadClock(ctx); err != nil {
		return err
	}
	if err := w.queue.BringBack(ctx); err != nil {
		return err
	}
	if err := process.Start(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() { process.Run(beating) })
	group.Go(func() { w.summarize(beating, &work.Stats) })
	group.Go(func() {
		every(beating, 5*time.Second, "adopt recounts without a job", func() error { return counters.Adopt(beating) }, w.log)
	})
	keeper := &jobs.Keeper{
		Queue: w.queue, Present: present, Process: process, Counters: counters, Logger: w.log, After: jobs.LostAfter,
	}
	group.Go(func() { every(beating, keeperEvery, "keep jobs", func() error { return keeper.Round(beating) }, w.log) })
	if w.cfg.copies() {
		group.Go(func() { w.reconcile(ctx, process) })
		group.Go(func() { w.probe(ctx, process) })
	}
	err = w.serve(ctx, client, process, present)
	w.served.Store(nil)
	err = errors.Join(err, w.endSession(client, process))
	stopBeating()
	group.Wait()
	w.hanging += work.Open()
	w.logStats(ctx, &work.Stats)
	return err
}

// summaryEvery is how often a worker tells what it has done: one by one its runs are
// told at the level of debugging only.
const summaryEvery = time.Minute

// logStats says what became of the session's runs.
func (w *worker) logStats(ctx context.Context, s *jobs.Stats) {
	var attrs []any
	for _, c := range s.Counts() {
		attrs = append(attrs, c.Name, c.N)
	}
	w.log.InfoContext(ctx, "session ended", attrs...)
}

// summarize says each minute what was done in it, if anything, until ctx is done.
func (w *worker) summarize(ctx context.Context, s *jobs.Stats) {
	last := s.Counts()
	for pause.For(ctx, summaryEvery) == nil {
		now := s.Counts()
		if attrs := since(last, now); len(attrs) > 0 {
			w.log.InfoContext(ctx, "done in the last minute", attrs...)
		}
		last = now
	}
}

// since is what has changed between two counts.
func since(last, now []jobs.Count) (attrs []any) {
	for i, c := range now {
		if n := c.N - last[i].N; n != 0 {
			attrs = append(attrs, c.Name, n)
		}
	}
	return attrs
}

func (w *worker) newClient(ctx context.Context, process *registry.Process, workers *river.Workers, present *jobs.Present) (*river.Client[pgx.Tx], error) {
	reindexed, err := w.reindexed(ctx)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(w.home), &river.Config{
		ID:                process.ID().String(),
		Schema:            jobs.Schema,
		Logger:            w.riverLogger(),
		Workers:           workers,
		Middleware:        []rivertype.Middleware{present},
		Plugins:           []rivertype.Plugin{w.metrics.River()},
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: defaultWorkers}},
		FetchCooldown:     jobs.FetchCooldown,
		FetchPollInterval: jobs.FetchPollInterval,
		SoftStopTimeout:   softStop,
		JobTimeout:        w.cfg.TestJobTimeout,

		ReindexerIndexNames: reindexed,

		// Named after what it was made for; River reads all its time here.
		Test: river.TestConfig{Time: w.queue.Clock()},

		CompletedJobRetentionPeriod: w.cfg.JobRetention,
		CancelledJobRetentionPeriod: endedJobRetention,
		DiscardedJobRetentionPeriod: endedJobRetention,
	})
	if err != nil {
		return nil, fmt.Errorf("open river client: %w", err)
	}
	return client, nil
}

// reindexed are the indexes that River rebuilds now and then: none where this role may
// not, as a worker's on Postgres 15 and 16. River would fail each day, as an error.
func (w *worker) reindexed(ctx context.Context) ([]string, error) {
	var may bool
	if err := w.home.QueryRow(ctx, workerSQL.MayReindex).Scan(&may); err != nil {
		return nil, fmt.Errorf("ask whether indexes may be rebuilt: %w", err)
	}
	if !may {
		return []string{}, nil // nil would be River's default
	}
	return jobs.ReindexerIndexNames(), nil
}

// serve works on the queues of the kinds that this worker handles, new ones
// included, until ctx is done or the process is lost.
func (w *worker) serve(ctx context.Context, client *river.Client[pgx.Tx], process *registry.Process, present *jobs.Present) error {
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start river client: %w", err)
	}
	w.roles.set(w.sessionRole(), true, "")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(process.Done(), cancel)()
	queues := &queues{worker: w, river: client.Queues(), present: present, served: map[string]int{river.QueueDefault: defaultWorkers}}
	queues.keep(ctx)
	return nil
}

// endSession stops the client, and hands on what is left in this process's
// name. A run that ignores its end is left behind: it is fenced.
func (w *worker) endSession(client *river.Client[pgx.Tx], process *registry.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout-2*time.Second)
	defer cancel()
	var errs []error
	if err := client.Stop(ctx); err != nil {
		errs = append(errs, fmt.Errorf("stop river client: %w", err))
	}
	ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return errors.Join(append(errs, process.Stop(ctx))...)
}
