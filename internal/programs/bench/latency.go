package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/programs/bench/measure"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const latencyCount = 40 // in a round

// latency: milliseconds from the commit of an event to the start of its job on
// an idle system, by a follower of the primary and by one of a standby, against a bare
// River insert to start; and what an idle minute writes.
func latency(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
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
	var results []measure.Result
	for _, follower := range []struct {
		name    string
		source  *pgxpool.Pool
		listens bool
		every   time.Duration
	}{{"latency", s.DB, true, 0}, {"latency/standby", standby, false, eventlog.StandbyInterval}} {
		figures, err := s.latencies(ctx, m, client, starts, follower.name, cursor.Config{
			Name: "registry", Source: follower.source, Home: s.DB, Logger: s.log, Wait: 100 * time.Millisecond,
			Listens: follower.listens, Interval: follower.every, Consumer: &registry.Transposer{Jobs: s.queue},
		})
		if err != nil {
			return nil, err
		}
		note := fmt.Sprintf("commit of an event to start of its job, idle; reference: insert to start of a bare job; %d of each in turns in a round", latencyCount)
		for _, p := range []int{50, 99} {
			results = append(results, figures.CompareAt(p, fmt.Sprintf("%s/p%d", follower.name, p), "ours", "reference", "ms", note))
		}
	}
	m.Say("%s without events", idleFor)
	idle, err := s.idleWAL(ctx)
	if err != nil {
		return nil, err
	}
	return append(results, measure.Result{
		Bench: "latency/idle-wal", Ours: idle, Unit: "bytes", Note: fmt.Sprintf("WAL written in a minute without events, by %s of them: ticks and River's own upkeep; no reference", idleFor),
	}), nil
}

// latencies follows the log while it measures.
func (s *site) latencies(ctx context.Context, m *measure.Bench, client *river.Client[pgx.Tx], starts *starts, name string, cfg cursor.Config) (*measure.Figures, error) {
	follow, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	group.Go(func() { _ = cursor.New(cfg).Run(follow) })
	if _, err := starts.measure(ctx, name, s.event(ctx, name)); err != nil { // the cursor has begun
		return nil, err
	}
	n := 0
	return m.Rounds(ctx, func(f *measure.Figures) error {
		for range latencyCount {
			n++
			key := fmt.Sprintf("%s/%d", name, n)
			took, err := starts.measure(ctx, key, s.event(ctx, key))
			if err != nil {
				return err
			}
			f.Add("ours", took)
			key = "bare/" + key
			took, err = starts.measure(ctx, key, func() error {
				_, err := client.Insert(ctx, bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: key}}, &river.InsertOpts{Queue: "resource"})
				return err
			})
			if err != nil {
				return err
			}
			f.Add("reference", took)
		}
		return nil
	})
}

// event commits an event of a resource.
func (s *site) event(ctx context.Context, id string) func() error {
	return func() error {
		_, err := s.DB.Exec(ctx, "SELECT casq.append_event('resource', $1, 'created')", id)
		return err
	}
}

// idleFor is a whole minute: what is left to be done after the events before is done once, and
// would count three times if a third of it were taken.
const idleFor = time.Minute

// idleWAL returns the bytes of WAL that an idle minute writes.
func (s *site) idleWAL(ctx context.Context) (float64, error) {
	var before string
	if err := s.DB.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&before); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(idleFor):
	}
	var written float64
	err := s.DB.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", before).Scan(&written)
	return written * time.Minute.Seconds() / idleFor.Seconds(), err
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

const halfFor = 2 * time.Second // a side, in a round

// halfLatency: milliseconds from the commit of an event until its job is fetched to be worked
// on, at half of the rate at which this machine can bring resources in place; against bare
// jobs that come at the same rate.
func halfLatency(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	l, err := newLoad(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	bare, client, err := l.bareLoad(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Stop(context.WithoutCancel(ctx))) }()
	m.Say("the top rate")
	top, err := l.tops(ctx)
	if err != nil {
		return nil, err
	}
	bare.rate = top / 2
	round := 0
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		round++
		return errors.Join(
			l.probed(ctx, f, "bare", round, bare),
			l.probed(ctx, f, "ours", round, sending{bare.rate, l.appendSome, l.appendProbe}))
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("commit of an event to the fetch of its job, at %.0f events/s, half of the rate at which resources come in place; reference: insert to fetch of a bare job, as many a second", bare.rate)
	return []measure.Result{
		figures.CompareAt(50, "latency/half/p50", "ours", "bare", "ms", note), figures.CompareAt(99, "latency/half/p99", "ours", "bare", "ms", note),
	}, nil
}

// probed keeps up a load for a while, and adds how long probes took in it.
func (l *load) probed(ctx context.Context, f *measure.Figures, side string, round int, s sending) error {
	sent, cancel := context.WithTimeout(ctx, halfFor)
	defer cancel()
	keys, committed, err := s.send(sent, fmt.Sprintf("probe/%s/%d", side, round))
	if err != nil {
		return err
	}
	took, err := l.fetched(ctx, keys, committed)
	f.Add(side, took...)
	return err
}

// appendSome commits events of new resources.
func (l *load) appendSome(ctx context.Context, n int) error {
	_, err := l.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', 'some/' || gen_random_uuid(), 'created', jsonb_build_object('id', i) FROM generate_series(1, $1::int) AS i`, n)
	return err
}

func (l *load) appendProbe(ctx context.Context, key string) error {
	_, err := l.DB.Exec(ctx, "SELECT casq.append_event('resource', $1, 'created')", key)
	return err
}

// bareLoad starts a client whose jobs do nothing, in a queue of its own, and returns how they
// are inserted.
func (l *load) bareLoad(ctx context.Context) (sending, *river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &bareWorker{})
	client, err := river.NewClient(riverpgxv5.New(l.DB), &river.Config{
		ID: "bench", Schema: jobs.Schema, Logger: l.log, Workers: workers,
		Queues:        map[string]river.QueueConfig{"bare": {MaxWorkers: 1000}},
		FetchCooldown: jobs.FetchCooldown,
	})
	if err != nil {
		return sending{}, nil, err
	}
	if err := client.Start(ctx); err != nil {
		return sending{}, nil, err
	}
	options := &river.InsertOpts{Queue: "bare"}
	return sending{
		many: func(ctx context.Context, n int) error {
			params := make([]river.InsertManyParams, n)
			for i := range params {
				params[i] = river.InsertManyParams{Args: bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: "some"}}, InsertOpts: options}
			}
			_, err := client.InsertManyFast(ctx, params)
			return err
		},
		probe: func(ctx context.Context, key string) error {
			_, err := client.Insert(ctx, bareArgs{jobs.SyncArgs{ResourceKind: "resource", ResourceID: key}}, options)
			return err
		},
	}, client, nil
}
