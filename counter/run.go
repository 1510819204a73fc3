package counter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// Run feeds the shards until ctx is done, and asks for flushes while there is
// something to flush. Errors are logged and tried again. While Redis does not
// answer, batches are written to Postgres instead.
func (c *Counters) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.begin(ctx)
		if err == nil {
			err = c.follow(ctx, c.cfg.Redis != nil)
		}
		switch {
		case ctx.Err() != nil || err == nil:
		case errors.Is(err, errRedis):
			c.log.WarnContext(ctx, "redis does not take counters, writing them to postgres", "err", err)
			if err := c.follow(ctx, false); err != nil && ctx.Err() == nil {
				c.log.WarnContext(ctx, "cannot count, trying again", "err", err)
			}
		case errors.Is(err, eventlog.ErrNoTicks):
			c.log.InfoContext(ctx, "no tick was taken yet, waiting")
		default:
			c.log.WarnContext(ctx, "cannot count, trying again", "err", err)
		}
		pause(ctx, time.Second)
	}
}

// errRedis marks errors of Redis, which is not needed to go on.
var errRedis = errors.New("redis")

// withoutRedis is how long batches go to Postgres before Redis is tried again.
const withoutRedis = 5 * time.Second

// follow feeds the shards until an error ends it, ctx is done, or, without
// Redis where there should be one, for a while.
func (c *Counters) follow(ctx context.Context, buffered bool) error {
	buf, n, err := c.open(ctx)
	if err != nil {
		return err
	}
	if !buffered {
		buf = nil
	}
	shards := make([]int, n)
	for i := range shards {
		shards[i] = i
	}
	f := c.newFeeder(buf, n, shards...)
	began, asked := time.Now(), time.Time{}
	for ctx.Err() == nil {
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
		if buf == nil && c.cfg.Redis != nil && time.Since(began) > withoutRedis {
			return nil
		}
		if !more {
			pause(ctx, c.cfg.Interval)
		}
	}
	return nil
}

func (c *Counters) askFlush(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := c.cfg.Jobs.Flush(ctx, tx); err != nil {
			return fmt.Errorf("ask for a flush: %w", err)
		}
		return nil
	})
}

// pause returns after d or when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
