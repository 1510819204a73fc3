package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

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
