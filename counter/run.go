package counter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/eventlog"
	"casq/internal/lease"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
)

// Run feeds the shards until ctx is done, and asks for flushes while there is
// something to flush. Errors are logged and tried again. While Redis does not
// answer, batches are written to Postgres instead. Before it returns, it
// flushes.
func (c *Counters) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.begin(ctx)
		if err == nil {
			err = c.turn(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.tell(ctx, err)
		}
		_ = pause.For(ctx, idle/2+rand.N(idle/2))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := c.Flush(ctx); err != nil && !errors.Is(err, ErrNotStarted) {
		c.log.WarnContext(ctx, "cannot flush, the next process does", "err", err)
	}
}

// idle is how long a process pauses at most that is not the one to feed.
const idle = time.Second

func (c *Counters) tell(ctx context.Context, err error) {
	switch {
	case errors.Is(err, eventlog.ErrNoTicks):
		c.log.InfoContext(ctx, "no tick was taken yet, waiting")
	case errors.Is(err, lease.ErrHeld):
		c.log.DebugContext(ctx, "another process feeds the counters", "err", err)
	default:
		c.log.WarnContext(ctx, "cannot count, trying again", "err", err)
	}
}

// errRedis marks errors of Redis, which is not needed to go on.
var errRedis = errors.New("redis")

// turn feeds the shards under the lease, or, where Redis is of no use, without.
func (c *Counters) turn(ctx context.Context) error {
	if c.cfg.Redis == nil {
		return c.follow(ctx, nil, false)
	}
	buf, n, err := c.open(ctx)
	if err != nil {
		return err
	}
	held, err := c.leaser.Obtain(ctx, buf.namespace+".counters", c.log)
	if errors.Is(err, lease.ErrHeld) {
		return err
	}
	if err == nil {
		defer func() { _ = held.Release(context.WithoutCancel(ctx)) }()
		err = c.fits(ctx)
	}
	if err == nil {
		err = c.follow(ctx, held.Lost(), true)
	}
	if errors.Is(err, errRedis) || errors.Is(err, lease.ErrUnknown) {
		c.log.WarnContext(ctx, "redis does not take counters, writing them to postgres", "err", err)
		return c.without(ctx, buf, n)
	}
	return err
}

// follow feeds the shards until an error ends it, until is closed, or ctx is done.
func (c *Counters) follow(ctx context.Context, until <-chan struct{}, buffered bool) error {
	buf, n, err := c.open(ctx)
	if err != nil {
		return err
	}
	if !buffered {
		buf = nil
	}
	f := c.newFeeder(buf, n, all(n)...)
	asked := time.Time{}
	for ctx.Err() == nil {
		select {
		case <-until:
			return nil
		default:
		}
		more, err := f.round(ctx)
		if err != nil {
			return err
		}
		if buf != nil && f.pending && time.Since(asked) >= c.cfg.FlushEvery {
			if err := c.askFlush(ctx); err != nil {
				return err
			}
			f.pending, asked = false, time.Now()
		}
		if err := c.sample(ctx); err != nil { // counting is not held up by it
			c.log.WarnContext(ctx, "cannot compare counters with their tables", "err", err)
		}
		if !more {
			_ = pause.For(ctx, c.cfg.Interval)
		}
	}
	return nil
}

func all(n int) []int {
	shards := make([]int, n)
	for i := range shards {
		shards[i] = i
	}
	return shards
}

func (c *Counters) askFlush(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := c.cfg.Jobs.Flush(ctx, tx); err != nil {
			return fmt.Errorf("ask for a flush: %w", err)
		}
		return nil
	})
}

// sampleSize is how many counters of a kind are compared at a time.
const sampleSize = 10

// sample asks for some counters to be compared with their table, now and then.
// When that was last is in casq.scans, so that it does not matter who asks.
func (c *Counters) sample(ctx context.Context) error {
	if c.cfg.CheckEvery < 0 || time.Since(c.sampled) < min(c.cfg.CheckEvery, time.Minute) {
		return nil
	}
	c.sampled = time.Now()
	rows, err := c.cfg.Home.Query(ctx, shardsSQL.Sample, c.cfg.CheckEvery, sampleSize)
	if err != nil {
		return fmt.Errorf("choose counters to compare: %w", err)
	}
	chosen := make(map[string][]string)
	var kind, scope string
	_, err = pgx.ForEachRow(rows, []any{&kind, &scope}, func() error {
		chosen[kind] = append(chosen[kind], scope)
		return nil
	})
	if err != nil {
		return fmt.Errorf("choose counters to compare: %w", err)
	}
	for kind, scopes := range chosen {
		if _, _, err := c.Refresh(ctx, Request{Kind: kind, Scopes: scopes, Compare: true}); err != nil {
			return fmt.Errorf("compare counters of %s: %w", kind, err)
		}
	}
	return nil
}
