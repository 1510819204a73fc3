package counter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
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
		err := c.Begin(ctx)
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

// turn feeds the shards under the lease, or, where Redis is of no use, without.
func (c *Counters) turn(ctx context.Context) error {
	if c.cfg.Redis == nil {
		return c.follow(ctx, nil, false)
	}
	buf, n, err := c.feed.Open(ctx)
	if err != nil {
		return err
	}
	held, err := c.leaser.Obtain(ctx, buf.Namespace()+".counters", c.log)
	if errors.Is(err, lease.ErrHeld) {
		return err
	}
	if err == nil {
		defer func() { _ = held.Release(context.WithoutCancel(ctx)) }()
		err = buffer.CheckPolicy(ctx, c.cfg.Redis)
	}
	if err == nil {
		err = c.follow(ctx, held.Lost(), true)
	}
	if errors.Is(err, buffer.ErrRedis) || errors.Is(err, lease.ErrUnknown) {
		c.log.WarnContext(ctx, "redis does not take counters, writing them to postgres", "err", err)
		return c.without(ctx, buf, n)
	}
	return err
}

// follow feeds the shards until an error ends it, until is closed, or ctx is done.
func (c *Counters) follow(ctx context.Context, until <-chan struct{}, buffered bool) error {
	buf, n, err := c.feed.Open(ctx)
	if err != nil {
		return err
	}
	if !buffered {
		buf = nil
	}
	f := c.feed.NewFeeder(buf, n, tally.All(n)...)
	asked := time.Time{}
	for ctx.Err() == nil {
		select {
		case <-until:
			return nil
		default:
		}
		more, err := f.Round(ctx)
		if err != nil {
			return err
		}
		if buf != nil && f.Pending() && time.Since(asked) >= c.cfg.FlushEvery {
			if err := c.askFlush(ctx); err != nil {
				return err
			}
			f.FlushAsked()
			asked = time.Now()
		}
		if !more {
			_ = pause.For(ctx, c.cfg.Interval)
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
