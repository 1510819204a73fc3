package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/eventlog"
	"casq/internal/programs/bench/measure"
	"casq/races/refreshkey"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

const (
	incrementCount  = 100_000
	incrementScopes = 100
	incrementPage   = 100 // increments of the reference in one round trip
)

// increments: events a second, from committed events into exact counters, while
// nothing else happens and while all of them are recounted; against the published
// script in the same two states, and against bare INCRBYs. Theirs come from
// memory, not from a log.
func increments(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := &incrementBench{site: s}
	if err := b.tables(ctx); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error { return b.round(ctx, f) })
	if err != nil {
		return nil, err
	}
	compare := func(name, ours, reference, what string) measure.Result {
		return figures.Compare(name, ours, reference, "events/s", fmt.Sprintf("%d events of %d counters, from the log; reference: %s, pipelined by %d, from memory", incrementCount, incrementScopes, what, incrementPage))
	}
	return []measure.Result{
		compare("increments/plain", "plain", "published plain", "the published script"),
		compare("increments/refresh", "refresh", "published refresh", "the published script during a refresh"),
		compare("incrby", "plain", "incrby", "bare INCRBY"),
	}, nil
}

type incrementBench struct {
	*site
}

func (b *incrementBench) tables(ctx context.Context) error {
	_, err := b.DB.Exec(ctx, `CREATE TABLE resources (id bigint PRIMARY KEY, scope bigint, size bigint);
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'scope', size_column => 'size');
		CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint)`)
	if err != nil {
		return err
	}
	return b.published(time.Hour).Setup(ctx)
}

func (b *incrementBench) published(delay time.Duration) *refreshkey.Counters {
	return refreshkey.New(refreshkey.Config{DB: b.DB, Redis: b.redis, Prefix: "published:", FinalizeDelay: delay})
}

func (b *incrementBench) round(ctx context.Context, figures *measure.Figures) error {
	for _, m := range []struct {
		name    string
		measure func(context.Context) (time.Duration, error)
	}{
		{"incrby", b.incrby},
		{"published plain", func(ctx context.Context) (time.Duration, error) { return b.theirs(ctx, false) }},
		{"plain", func(ctx context.Context) (time.Duration, error) { return b.ours(ctx, false) }},
		{"published refresh", func(ctx context.Context) (time.Duration, error) { return b.theirs(ctx, true) }},
		{"refresh", func(ctx context.Context) (time.Duration, error) { return b.ours(ctx, true) }},
	} {
		if err := b.redis.FlushAll(ctx).Err(); err != nil {
			return err
		}
		took, err := m.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		figures.Add(m.name, incrementCount/took.Seconds())
	}
	return nil
}

func (b *incrementBench) incrby(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	for done := 0; done < incrementCount; done += incrementPage {
		_, err := b.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := done; i < done+incrementPage; i++ {
				p.IncrBy(ctx, fmt.Sprintf("bare:%d", i%incrementScopes), 4096)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// theirs adds by the published script. In a refresh, which waits for its end
// here, it keeps a bit for each artifact.
func (b *incrementBench) theirs(ctx context.Context, refreshing bool) (time.Duration, error) {
	c := b.published(time.Hour)
	if _, err := b.DB.Exec(ctx, "TRUNCATE published_refreshes"); err != nil {
		return 0, err
	}
	for project := range int64(incrementScopes) {
		if !refreshing {
			break
		}
		if _, err := c.Ask(ctx, project); err != nil {
			return 0, err
		}
		if _, err := c.Scan(ctx); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	page := make([]refreshkey.Increment, 0, incrementPage)
	for i := range int64(incrementCount) {
		page = append(page, refreshkey.Increment{Project: i % incrementScopes, Artifact: i + 1, Amount: 4096})
		if len(page) < incrementPage {
			continue
		}
		if err := c.Add(ctx, page...); err != nil {
			return 0, err
		}
		page = page[:0]
	}
	return time.Since(start), nil
}

// ours follows the log, and flushes and recounts meanwhile as a worker does.
func (b *incrementBench) ours(ctx context.Context, recounting bool) (took time.Duration, err error) {
	if _, err := b.DB.Exec(ctx, "TRUNCATE casq.counter_shards, casq.counters, casq.scans, casq.refreshes"); err != nil {
		return 0, err
	}
	if err := b.empty(ctx); err != nil {
		return 0, err
	}
	if err := b.append(ctx, incrementCount); err != nil {
		return 0, err
	}
	inner, halt := context.WithCancel(ctx)
	defer halt()
	work := &countWork{jobs: make(chan func(context.Context) error, 1000)}
	work.counters = counter.New(counter.Config{Home: b.DB, Redis: b.redis, Jobs: work, Logger: b.log})
	work.recounts = recount.New(recount.Config{Home: b.DB, Counters: work.counters, Jobs: work, Logger: b.log})
	if _, err := b.DB.Exec(ctx, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'bench', 1) ON CONFLICT DO NOTHING", work.process); err != nil {
		return 0, err
	}
	if recounting {
		if _, _, err := work.recounts.Refresh(ctx, recount.Request{Kind: "resource", All: true}); err != nil {
			return 0, err
		}
	}
	worked, fed := make(chan error, 1), make(chan struct{})
	start := time.Now()
	go func() { worked <- work.run(inner) }()
	go func() { defer close(fed); work.counters.Run(inner) }()
	err = b.untilCounted(ctx, work.counters)
	took = time.Since(start)
	halt()
	<-fed
	return took, errors.Join(err, <-worked)
}

// untilCounted returns when the live values are those of the newest tick.
func (b *incrementBench) untilCounted(ctx context.Context, c *counter.Counters) error {
	var newest int64
	if err := b.DB.QueryRow(ctx, "SELECT max(id) FROM casq.ticks").Scan(&newest); err != nil {
		return err
	}
	for {
		v, err := c.Get(ctx, counter.Key{Kind: "resource", ScopeID: "0"})
		if err != nil && !errors.Is(err, counter.ErrNotStarted) && !errors.Is(err, eventlog.ErrNoTicks) {
			return err
		}
		if err == nil && v.Live && v.AsOf.Tick >= newest && !v.AsOf.InStep() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// countWork carries out the counters' jobs in this process, one by one.
type countWork struct {
	counters *counter.Counters
	recounts *recount.Recounts
	process  uuid.UUID
	jobs     chan func(context.Context) error
}

func (w *countWork) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-w.jobs:
			err := job(ctx)
			switch {
			case ctx.Err() != nil, err == nil, errors.Is(err, recount.ErrSuperseded):
			case errors.Is(err, recount.ErrNotReady), errors.Is(err, recount.ErrBusy):
				w.jobs <- job
			default:
				return err
			}
		}
	}
}

// Flush implements [counter.Jobs].
func (w *countWork) Flush(context.Context, pgx.Tx) (int64, error) {
	w.jobs <- func(ctx context.Context) error { _, err := w.counters.Flush(ctx); return err }
	return 1, nil
}

// Scan implements [recount.Jobs].
func (w *countWork) Scan(_ context.Context, _ pgx.Tx, scan int64) (int64, error) {
	w.jobs <- func(ctx context.Context) error { return w.recounts.Scan(ctx, scan, 1, w.process) }
	return 1, nil
}

// Finalize implements [recount.Jobs].
func (w *countWork) Finalize(_ context.Context, _ pgx.Tx, f recount.Finalize) (int64, error) {
	w.jobs <- func(ctx context.Context) error { return w.recounts.Finalize(ctx, f, 1) }
	return 1, nil
}
