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

	"github.com/riverqueue/river"
)

const latencyCount = 200

// latency: milliseconds from the commit of an event to the start of its job on
// an idle system, against a bare River insert to start; and what an idle minute
// writes.
func latency(ctx context.Context) (_ []result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
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
	roles, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	group.Go(func() { (&eventlog.Ticker{Pool: s.DB, Logger: s.log}).Run(roles) })
	group.Go(func() {
		_ = cursor.New(cursor.Config{
			Name: "registry", Source: s.DB, Home: s.DB, Logger: s.log, Wait: 100 * time.Millisecond, Listens: true,
			Consumer: &registry.Transposer{Jobs: s.queue},
		}).Run(roles)
	})
	var ours, reference []float64
	for i := range latencyCount {
		key := fmt.Sprintf("resources/%d", i)
		took, err := starts.measure(ctx, key, func() error {
			_, err := s.DB.Exec(ctx, "SELECT casq.append_event('resource', $1, 'created')", key)
			return err
		})
		if err != nil {
			return nil, err
		}
		ours = append(ours, took)
		key = "bare/" + key
		took, err = starts.measure(ctx, key, func() error {
			_, err := client.Insert(ctx, bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: key}}, &river.InsertOpts{Queue: "resource"})
			return err
		})
		if err != nil {
			return nil, err
		}
		reference = append(reference, took)
	}
	idle, err := s.idleWAL(ctx)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("commit of an event to start of its job, idle; reference: insert to start of a bare job; %d of each in turns", latencyCount)
	return []result{
		{Bench: "latency/p50", Ours: percentile(ours, 50), Reference: percentile(reference, 50), Unit: "ms", Note: note},
		{Bench: "latency/p99", Ours: percentile(ours, 99), Reference: percentile(reference, 99), Unit: "ms", Note: note},
		{Bench: "latency/idle-wal", Ours: idle, Unit: "bytes", Note: "WAL written in a minute without events: ticks and River's own upkeep; no reference"},
	}, nil
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
