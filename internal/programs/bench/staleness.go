package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"casq/counter"
	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	staleProbes = 200
	staleRows   = 100 // in a transaction, every 20 ms: 5,000 events a second
	staleEvery  = 20 * time.Millisecond
	redisCount  = 200_000
)

// staleness: milliseconds from a commit until a counter that is read has it, while
// 5,000 events a second are counted; and what a counter takes in Redis.
func staleness(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := &incrementBench{site: s}
	if err := b.tables(ctx); err != nil {
		return nil, err
	}
	m.Say("%d probes", staleProbes)
	waits, err := b.probe(ctx)
	if err != nil {
		return nil, err
	}
	m.Say("%d pending counters", redisCount)
	bytes, err := b.weigh(ctx)
	note := fmt.Sprintf("from commit to readable, %d probes, 5,000 events a second", staleProbes)
	return []measure.Result{
		{Bench: "staleness/p50", Ours: measure.Percentile(waits, 50), Unit: "ms", Note: note},
		{Bench: "staleness/p99", Ours: measure.Percentile(waits, 99), Unit: "ms", Note: note},
		{Bench: "redis", Ours: bytes, Unit: "bytes", Note: fmt.Sprintf("for each of %d counters that are pending; none for one that is flushed", redisCount)},
	}, err
}

// probe commits one row now and then and reads until the counter has it.
func (b *incrementBench) probe(ctx context.Context) (waits []float64, err error) {
	counters := counter.New(counter.Config{Home: b.DB, Redis: b.redis, Jobs: jobs.NewCounting(b.queue), Logger: b.log})
	inner, halt := context.WithCancel(ctx)
	group, inner := errgroup.WithContext(inner)
	defer func() { halt(); err = errors.Join(err, group.Wait()) }()
	group.Go(func() error {
		return worker.Run(inner, worker.Config{HomeURL: b.URL, RedisURL: b.Redis.URL(), Logger: slog.New(slog.DiscardHandler)})
	})
	group.Go(func() error { return b.press(inner) })
	for i := range int64(staleProbes + 1) {
		if _, err := b.DB.Exec(ctx, "INSERT INTO resources VALUES (-$1::bigint, -1, 1)", i+1); err != nil {
			return nil, err
		}
		start := time.Now()
		for {
			v, err := counters.Get(ctx, counter.Key{Kind: "resource", ScopeID: "-1"})
			if err == nil && v.Items == i+1 {
				break
			}
			if err != nil && !errors.Is(err, counter.ErrNotStarted) {
				return nil, err
			}
			if err := pause.For(ctx, time.Millisecond); err != nil {
				return nil, err
			}
		}
		if i > 0 { // the first one waits for the worker to start
			waits = append(waits, float64(time.Since(start).Microseconds())/1000)
		}
	}
	return waits, nil
}

// press commits 5,000 events a second.
func (b *incrementBench) press(ctx context.Context) error {
	next := time.NewTicker(staleEvery)
	defer next.Stop()
	for id := int64(1); ; id += staleRows {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		_, err := b.DB.Exec(ctx, "INSERT INTO resources SELECT n, n % 100, 10 FROM generate_series($1::bigint, $2) AS n", id, id+staleRows-1)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// weigh has many counters pending, which nobody flushes.
func (b *incrementBench) weigh(ctx context.Context) (bytes float64, err error) {
	if _, err := b.DB.Exec(ctx, "TRUNCATE casq.counter_shards, casq.counters, casq.scans, casq.refreshes"); err != nil {
		return 0, err
	}
	if err := errors.Join(b.empty(ctx), b.redis.FlushAll(ctx).Err()); err != nil {
		return 0, err
	}
	before, err := usedMemory(ctx, b.redis)
	if err != nil {
		return 0, err
	}
	_, err = b.DB.Exec(ctx, "INSERT INTO resources SELECT n + 1000000000, n, 10 FROM generate_series(1, $1::bigint) AS n", redisCount)
	if err == nil {
		_, err = eventlog.Tick(ctx, b.DB, true)
	}
	if err != nil {
		return 0, err
	}
	counters := counter.New(counter.Config{Home: b.DB, Redis: b.redis, Jobs: idle{}, Logger: slog.New(slog.DiscardHandler)})
	inner, halt := context.WithCancel(ctx)
	fed := make(chan struct{})
	defer func() { halt(); <-fed }()
	go func() { defer close(fed); counters.Run(inner) }()
	if err := b.untilCounted(ctx, counters); err != nil {
		return 0, err
	}
	after, err := usedMemory(ctx, b.redis)
	return float64(after-before) / redisCount, err
}

// idle is a [counter.Jobs] that nobody works on.
type idle struct{}

// Flush implements [counter.Jobs].
func (idle) Flush(context.Context, pgx.Tx) (int64, error) { return 1, nil }

// usedMemory is how many bytes a Redis uses.
func usedMemory(ctx context.Context, c redis.UniversalClient) (bytes int64, err error) {
	info, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, errors.New("redis does not say what it uses")
}
