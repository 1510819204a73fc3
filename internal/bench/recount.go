package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"casq/counter"
	"casq/internal/servers"
	"casq/internal/worker"
	"casq/jobs"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

//go:embed recount_table.sql
var recountTableSQL string

const (
	recountThings = 5_000_000
	recountChange = 100 // rows that one transaction changes
	recountEvery  = 50 * time.Millisecond
	recountRounds = 3
)

// recountBench is a table that is recounted by a worker while it changes.
type recountBench struct {
	*site
	redis    *redis.Client
	counters *counter.Counters
	things   int
}

// recount: seconds that a recount takes from the request to the swap, with 2,000
// changes a second going on, against the bare query on the same table while
// nothing else happens: of all scopes, and of one that has a fifth of the rows.
// In the end each counter has to be what the table says.
func recount(ctx context.Context) (_ []result, err error) {
	b := &recountBench{things: recountThings}
	if b.site, err = newSite(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	server, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		return nil, err
	}
	b.redis = redis.NewClient(options)
	defer b.redis.Close()
	// Utility statements take no parameters.
	table := strings.ReplaceAll(recountTableSQL, "$1", strconv.Itoa(b.things))
	for _, sql := range []string{
		table, "ALTER TABLE counted ADD PRIMARY KEY (id)", "CREATE INDEX ON counted (project)", "VACUUM ANALYZE counted", "CHECKPOINT",
		"SELECT casq.track('counted', kind => 'counted', transfer => 'none', key_column => 'id', scope_column => 'project', size_column => 'size')",
	} {
		if _, err := b.pool.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	return b.measure(ctx, server.URL())
}

func (b *recountBench) measure(ctx context.Context, redisURL string) ([]result, error) {
	bareAll, err := b.bare(ctx, "SELECT count(*) FROM (SELECT project, sum(size), count(*) FROM counted GROUP BY project) AS g")
	if err != nil {
		return nil, err
	}
	bareOne, err := b.bare(ctx, "SELECT sum(size) FROM counted WHERE project = 0")
	if err != nil {
		return nil, err
	}
	b.counters = counter.New(counter.Config{Home: b.pool, Redis: b.redis, Jobs: jobs.NewCounting(b.queue), Logger: b.log})
	inner, halt := context.WithCancel(ctx)
	defer halt()
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error {
		return worker.Run(inner, worker.Config{HomeURL: b.url, RedisURL: redisURL, Logger: slog.New(slog.DiscardHandler)})
	})
	stop := make(chan struct{})
	group.Go(func() error { return b.change(inner, stop) })
	var all, one []float64
	var keys int64
	for range recountRounds {
		took, n, err := b.once(ctx, counter.Request{Kind: "counted", All: true})
		if err != nil {
			return nil, err
		}
		all, keys = append(all, took), n
		if took, _, err = b.once(ctx, counter.Request{Kind: "counted", Scopes: []string{"0"}}); err != nil {
			return nil, err
		}
		one = append(one, took)
	}
	close(stop)
	if err := b.same(ctx); err != nil {
		return nil, err
	}
	halt()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	note := fmt.Sprintf("of %d rows, 2,000 changes a second; reference: the bare query, idle; medians of %d; %d keys in Redis during it, two for each of 16 shards as at any time",
		b.things, recountRounds, keys)
	return []result{
		{Bench: "recount/all", Ours: median(all), Reference: bareAll, Unit: "s", Note: "all scopes " + note},
		{Bench: "recount/one", Ours: median(one), Reference: bareOne, Unit: "s", Note: "one scope with a fifth " + note},
	}, nil
}

func (b *recountBench) bare(ctx context.Context, sql string) (float64, error) {
	var took []float64
	for range recountRounds {
		start := time.Now()
		if _, err := b.pool.Exec(ctx, sql); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start).Seconds())
	}
	return median(took), nil
}

// change commits 2,000 changes a second: sizes, and some rows that move.
func (b *recountBench) change(ctx context.Context, stop <-chan struct{}) error {
	next := time.NewTicker(recountEvery)
	defer next.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		ids := make([]int64, recountChange)
		for i := range ids {
			ids[i] = rand.Int64N(int64(b.things)) + 1
		}
		_, err := b.pool.Exec(ctx, "UPDATE counted SET size = size + 1, project = CASE WHEN id % 10 = 0 THEN project + 1 ELSE project END WHERE id = ANY($1)", ids)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// once is one recount, from the request until all of it is swapped in; and the
// number of Redis's keys while it went on.
func (b *recountBench) once(ctx context.Context, r counter.Request) (seconds float64, keys int64, err error) {
	start := time.Now()
	scan, _, err := b.counters.Refresh(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	for {
		var over bool
		err := b.pool.QueryRow(ctx, "SELECT finished_at IS NOT NULL FROM casq.scans WHERE id = $1", scan).Scan(&over)
		if err != nil {
			return 0, 0, err
		}
		if over {
			return time.Since(start).Seconds(), keys, nil
		}
		if keys, err = b.redis.DBSize(ctx).Result(); err != nil {
			return 0, 0, err
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

//go:embed recount_same.sql
var recountSameSQL string

// same waits until what was changed last is flushed, and compares.
func (b *recountBench) same(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var differ int
		if err := b.pool.QueryRow(ctx, recountSameSQL).Scan(&differ); err != nil {
			return fmt.Errorf("compare, with %d counters that differ: %w", differ, err)
		}
		if differ == 0 {
			return nil
		}
	}
}
