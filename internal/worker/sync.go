package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"casq/eventlog"
	"casq/jobs"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// endedJobRetention is how long a job is kept that has not done its work:
// whoever looks into what went wrong finds it in the queue.
const endedJobRetention = 7 * 24 * time.Hour

// sync works on jobs until ctx is done. A session ends early when this process
// was taken for dead; the next one has an id that was never used.
func (w *worker) sync(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.session(ctx); err != nil && ctx.Err() == nil {
			w.roles.set(w.sessionRole(), false, err.Error())
			w.log.ErrorContext(ctx, "cannot work on jobs, trying again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
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

// session is the life of one registered process and its River client.
func (w *worker) session(ctx context.Context) error {
	var work *jobs.Worker
	process := registry.NewProcess(registry.ProcessConfig{
		Pool: w.home, Queue: w.queue, Logger: w.log, ClaimTTL: w.cfg.ClaimTTL,
		Swept: func(ctx context.Context, kind, resourceID string, claim uuid.UUID) {
			if err := work.Swept(ctx, kind, resourceID, claim.String()); err != nil {
				w.log.WarnContext(ctx, "cannot remove the staging of a dead process", "kind", kind, "resource_id", resourceID, "err", err)
			}
		},
	})
	work = jobs.New(jobs.Config{
		Registry: registry.New(registry.Config{
			Pool: w.home, Jobs: w.queue, Logger: w.log, PublishTimeout: w.cfg.PublishTimeout, Hook: w.cfg.Hook,
		}, process),
		Process:   process,
		Queue:     w.queue,
		Transfers: w.movers.byTransfer,
		Logger:    w.log,
		Timeouts:  w.cfg.Timeouts,
		ClaimTTL:  w.cfg.ClaimTTL,
		Stopping:  ctx.Done(),
		Hook:      w.cfg.Hook,
	})
	workers := river.NewWorkers()
	work.Register(workers)
	counters := w.registerCounters(workers, process.ID())
	client, err := w.newClient(process, workers)
	if err != nil {
		return err
	}
	if err := process.Start(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() { process.Run(beating) })
	group.Go(func() { every(beating, 5*time.Second, func() error { return counters.Adopt(beating) }, w.log) })
	if w.cfg.copies() {
		group.Go(func() { w.reconcile(ctx, process) })
	}
	err = w.serve(ctx, client, process)
	err = errors.Join(err, w.endSession(client, process))
	stopBeating()
	group.Wait()
	w.hanging += work.Open()
	w.logStats(ctx, &work.Stats)
	return err
}

// logStats says what became of the session's runs.
func (w *worker) logStats(ctx context.Context, s *jobs.Stats) {
	w.log.InfoContext(ctx, "session ended", "claimed", s.Claimed.Load(), "synced", s.Synced.Load(),
		"superseded", s.Superseded.Load(), "handed_over", s.HandedOver.Load(), "fenced", s.Fenced.Load(),
		"released", s.Released.Load(), "failed", s.Failed.Load(), "bytes", s.Bytes.Load(),
		"verified", s.Verified.Load(), "mismatched", s.Mismatched.Load())
}

func (w *worker) newClient(process *registry.Process, workers *river.Workers) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient(riverpgxv5.New(w.home), &river.Config{
		ID:                process.ID().String(),
		Schema:            jobs.Schema,
		Logger:            w.riverLogger(),
		Workers:           workers,
		Queues:            w.fixedQueues(),
		FetchCooldown:     jobs.FetchCooldown,
		FetchPollInterval: jobs.FetchPollInterval,
		SoftStopTimeout:   softStop,
		JobTimeout:        w.cfg.TestJobTimeout,

		CompletedJobRetentionPeriod: w.cfg.JobRetention,
		CancelledJobRetentionPeriod: endedJobRetention,
		DiscardedJobRetentionPeriod: endedJobRetention,
	})
	if err != nil {
		return nil, fmt.Errorf("open river client: %w", err)
	}
	return client, nil
}

// serve works on the queues of the kinds that this worker handles, new ones
// included, until ctx is done or the process is lost.
func (w *worker) serve(ctx context.Context, client *river.Client[pgx.Tx], process *registry.Process) error {
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start river client: %w", err)
	}
	w.roles.set(w.sessionRole(), true, "")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(process.Done(), cancel)()
	served := make(map[string]int)
	every(ctx, time.Second, func() error { return w.addQueues(ctx, client, served) }, w.log)
	return nil
}

// addQueues serves queues as their kinds become known. served says with how
// many runs at once.
func (w *worker) addQueues(ctx context.Context, client *river.Client[pgx.Tx], served map[string]int) error {
	kinds, err := eventlog.Kinds(ctx, w.home)
	if err != nil {
		return err
	}
	var errs []error
	wanted := w.capacity(kinds)
	maps.Copy(wanted, w.counterQueues())
	for queue, workers := range wanted {
		if served[queue] == workers {
			continue
		}
		if err := w.dropQueue(ctx, client, served, queue); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := client.Queues().Add(queue, river.QueueConfig{MaxWorkers: workers}); err != nil {
			errs = append(errs, fmt.Errorf("serve queue %s: %w", queue, err))
			continue
		}
		served[queue] = workers
		w.log.InfoContext(ctx, "serving queue", "queue", queue, "workers", workers)
	}
	return errors.Join(errs...)
}

// dropQueue ends serving a queue, which got another kind with a smaller number.
// What runs there ends first: until then no more is fetched, and this is called
// each second, in turns with the other queues.
func (w *worker) dropQueue(ctx context.Context, client *river.Client[pgx.Tx], served map[string]int, queue string) error {
	if served[queue] == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := client.Queues().Remove(ctx, queue); err != nil {
		return fmt.Errorf("wait for the runs of queue %s, to serve it with fewer: %w", queue, err)
	}
	delete(served, queue)
	return nil
}

// capacity is how many runs at once each queue has that this worker serves. A
// queue cannot tell its kinds apart, so all of them have the smallest number
// that is set for one.
func (w *worker) capacity(kinds map[string]eventlog.Kind) map[string]int {
	queues := make(map[string]int)
	for _, kind := range kinds {
		if !w.movers.handles(kind) {
			continue
		}
		n := cmp.Or(w.cfg.KindConcurrency[kind.Name], w.cfg.Concurrency)
		if had, known := queues[kind.Queue]; known {
			n = min(n, had)
		}
		queues[kind.Queue] = n
	}
	return queues
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
