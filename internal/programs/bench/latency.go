package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

const latencyCount = 200

// latency: milliseconds from the commit of an event to the start of its job on
// an idle system, by a follower of the primary and by one of a standby, against a bare
// River insert to start; and what an idle minute writes.
func latency(ctx context.Context) (_ []result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	standby, err := s.addStandby(ctx)
	if err != nil {
		return nil, err
	}
	defer standby.Close()
	starts := &starts{at: make(map[string]chan time.Time)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &startWorker{starts: starts})
	river.AddWorker(workers, &bareStartWorker{starts: starts})
	client, err := s.client("bench", workers)
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Stop(context.WithoutCancel(ctx))) }()
	ticks, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	group.Go(func() { (&eventlog.Ticker{Pool: s.DB, Logger: s.log}).Run(ticks) })
	var results []result
	for _, follower := range []struct {
		name    string
		source  *pgxpool.Pool
		listens bool
		every   time.Duration
	}{{"latency", s.DB, true, 0}, {"latency/standby", standby, false, eventlog.StandbyInterval}} {
		ours, reference, err := s.latencies(ctx, client, starts, follower.name, cursor.Config{
			Name: "registry", Source: follower.source, Home: s.DB, Logger: s.log, Wait: 100 * time.Millisecond,
			Listens: follower.listens, Interval: follower.every, Consumer: &registry.Transposer{Jobs: s.queue},
		})
		if err != nil {
			return nil, err
		}
		note := fmt.Sprintf("commit of an event to start of its job, idle; reference: insert to start of a bare job; %d of each in turns", latencyCount)
		for _, p := range []int{50, 99} {
			results = append(results, result{
				Bench: fmt.Sprintf("%s/p%d", follower.name, p), Ours: percentile(ours, p), Reference: percentile(reference, p), Unit: "ms", Note: note,
			})
		}
	}
	idle, err := s.idleWAL(ctx)
	if err != nil {
		return nil, err
	}
	return append(results, result{
		Bench: "latency/idle-wal", Ours: idle, Unit: "bytes", Note: "WAL written in a minute without events: ticks and River's own upkeep; no reference",
	}), nil
}

// latencies follows the log while it measures.
func (s *site) latencies(ctx context.Context, client *river.Client[pgx.Tx], starts *starts, name string, cfg cursor.Config) (ours, reference []float64, err error) {
	follow, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	group.Go(func() { _ = cursor.New(cfg).Run(follow) })
	for i := range latencyCount {
		key := fmt.Sprintf("%s/%d", name, i)
		took, err := starts.measure(ctx, key, func() error {
			_, err := s.DB.Exec(ctx, "SELECT casq.append_event('resource', $1, 'created')", key)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		if i > 0 { // the cursor has begun
			ours = append(ours, took)
		}
		key = "bare/" + key
		took, err = starts.measure(ctx, key, func() error {
			_, err := client.Insert(ctx, bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: key}}, &river.InsertOpts{Queue: "resource"})
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		reference = append(reference, took)
	}
	return ours, reference, nil
}

// idleWAL returns the bytes of WAL that an idle minute writes.
func (s *site) idleWAL(ctx context.Context) (float64, error) {
	var before string
	if err := s.DB.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&before); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Minute):
	}
	var written float64
	err := s.DB.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", before).Scan(&written)
	return written, err
}

// starts hands the start of each job to whoever measures it.
type starts struct {
	mu sync.Mutex // guards at
	at map[string]chan time.Time
}

func (s *starts) channel(key string) chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[key] == nil {
		s.at[key] = make(chan time.Time, 1)
	}
	return s.at[key]
}

// measure returns the milliseconds from the return of commit to the start.
func (s *starts) measure(ctx context.Context, key string, commit func() error) (float64, error) {
	started := s.channel(key)
	if err := commit(); err != nil {
		return 0, err
	}
	committed := time.Now()
	select {
	case at := <-started:
		return float64(at.Sub(committed).Microseconds()) / 1000, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(30 * time.Second):
		return 0, fmt.Errorf("the job of %s did not start", key)
	}
}

type startWorker struct {
	river.WorkerDefaults[jobs.SyncArgs]
	starts *starts
}

func (w *startWorker) Work(_ context.Context, job *river.Job[jobs.SyncArgs]) error {
	w.starts.channel(job.Args.ResourceID) <- time.Now()
	return nil
}

type bareStartWorker struct {
	river.WorkerDefaults[bareArgs]
	starts *starts
}

func (w *bareStartWorker) Work(_ context.Context, job *river.Job[bareArgs]) error {
	w.starts.channel(job.Args.ResourceID) <- time.Now()
	return nil
}
