package worker

import (
	"context"
	"sync"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/pause"
	"casq/jobs"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

// countersPoll is how soon a table is counted that has become tracked.
const countersPoll = 2 * time.Second

// newCounters returns this worker's counters, for the log and for the jobs.
func (w *worker) newCounters() *counter.Counters {
	return counter.New(counter.Config{
		Home: w.home, Redis: w.redis, Jobs: jobs.NewCounting(w.queue), Logger: w.log,
		Shards: w.cfg.CounterShards, PageSize: w.cfg.PageSize, FlushEvery: w.cfg.FlushInterval,
		Lease: w.cfg.CursorLease, Hook: w.cfg.Hook,
	})
}

// newRecounts returns the recounts of w.counters.
func (w *worker) newRecounts() *recount.Recounts {
	return recount.New(recount.Config{
		Home: w.home, Standbys: w.replicas, Counters: w.counters, Jobs: jobs.NewCounting(w.queue), Logger: w.log,
		Concurrency: w.cfg.RefreshConcurrency, SnapshotLimit: w.cfg.RefreshSnapshotLimit, CheckEvery: w.cfg.CounterCheckInterval,
		Differs: func(kind string) { w.metrics.Add("casq_counters_drift_total", 1, kind) },
		Hook:    w.cfg.Hook,
	})
}

// count takes on the counters while home has a table with scopes, and is not in
// recovery.
func (w *worker) count(ctx context.Context) {
	for ctx.Err() == nil {
		if may, err := w.mayCount(ctx); may && err == nil {
			w.take(ctx, "counters")
			w.counting.Store(true)
			w.countWhile(ctx)
		}
		w.counting.Store(false)
		w.giveUp(ctx, "counters")
		_ = pause.For(ctx, countersPoll)
	}
}

func (w *worker) mayCount(ctx context.Context) (may bool, err error) {
	err = w.home.QueryRow(ctx, workerSQL.MayCount).Scan(&may)
	return may, err
}

// countWhile counts until ctx is done or home has nothing to count any more.
func (w *worker) countWhile(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { w.counters.Run(ctx) })
	group.Go(func() { w.recounts.Run(ctx) })
	if !w.cfg.copies() { // else there is a session anyway
		group.Go(func() { w.sync(ctx) })
	}
	for ctx.Err() == nil {
		// A home that does not answer is no reason to stop.
		if may, err := w.mayCount(ctx); err == nil && !may {
			break
		}
		_ = pause.For(ctx, time.Minute)
	}
	cancel()
	group.Wait()
}

// counterQueues are the queues of a worker that counts. They are served by one
// that copies, too, before there is anything to count: their jobs come with it.
func (w *worker) counterQueues() map[string]int {
	if !w.counting.Load() {
		return nil
	}
	return map[string]int{
		jobs.FlushQueue:    1,
		jobs.RefreshQueue:  w.cfg.RefreshConcurrency,
		jobs.FinalizeQueue: 2,
	}
}

// registerCounters adds the counters' jobs of this session.
func (w *worker) registerCounters(workers *river.Workers, process uuid.UUID) *jobs.CounterWorker {
	work := &jobs.CounterWorker{Counters: w.counters, Recounts: w.recounts, Queue: w.queue, Process: process, Logger: w.log}
	work.Register(workers)
	return work
}
