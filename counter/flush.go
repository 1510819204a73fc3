package counter

import (
	"context"
	"errors"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// Flush writes what is pending in Redis to Postgres and returns the number of
// counters that it changed. It may be called at any time, twice, or by several
// processes; a shard that is not intact is left to [Counters.Run]. An error
// may be about some shards only: the others were flushed.
func (c *Counters) Flush(ctx context.Context) (counters int, err error) {
	buf, n, err := c.open(ctx)
	if err != nil || buf == nil {
		return 0, err
	}
	// A shard that does not answer is not waited for a second time, and no shard
	// waits for another's server.
	found, err := buf.readStamps(ctx, all(n))
	errs := []error{err}
	for shard := range n {
		if s, ok := found[shard]; !ok || s.idle() {
			continue
		}
		for again := true; again; {
			var changed int
			changed, again, err = c.flushShard(ctx, buf, shard)
			counters += changed
			errs = append(errs, err)
		}
	}
	return counters, errors.Join(errs...)
}

// flushShard is three steps, each of which may be repeated; a process may die after
// any of them:
//
//  1. freeze what is pending. Frozen and not flushed: the next flush finds it.
//  2. one transaction that adds it, and moves the shard from its first stamp to
//     its last. Flushed and not dropped: the shard is at the last stamp, so the
//     frozen part counts no more and is just dropped.
//  3. drop it.
//
// again says that this was the part of an earlier flush, which did not come to
// its end: what has been pending since is left.
func (c *Counters) flushShard(ctx context.Context, buf *buffer, shard int) (changed int, again bool, err error) {
	part, err := buf.freeze(ctx, shard)
	if errors.Is(err, errNotIntact) {
		return 0, false, nil
	}
	if err != nil || part.base == part.head {
		return 0, false, err
	}
	to, err := part.head.position()
	if err != nil {
		return 0, false, err
	}
	c.cfg.Hook("flush:frozen")
	flushed := false
	err = pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		at, err := lockShard(ctx, tx, shard)
		if err != nil {
			return err
		}
		c.cfg.Hook("flush:locked")
		if flushed = stampOf(at) == part.head; flushed || stampOf(at) != part.base {
			return nil
		}
		return c.flushPart(ctx, tx, shard, part, to, &flushed)
	})
	if err != nil || !flushed {
		return 0, false, err
	}
	c.cfg.Hook("flush:committed")
	err = buf.drop(ctx, shard, part)
	return len(part.sums), part.left && err == nil, err
}

func (c *Counters) flushPart(ctx context.Context, tx pgx.Tx, shard int, part frozenPart, to eventlog.Position, flushed *bool) error {
	moved, err := moveShard(ctx, tx, shard, to)
	if err != nil {
		return err
	}
	if !moved {
		// Home has lost these ticks in a failover. The feeder finds that out as
		// well, and replays the shard.
		c.log.WarnContext(ctx, "redis has counted what the log has lost, not flushed", "shard", shard, "head", string(part.head))
		return nil
	}
	*flushed = true
	return add(ctx, tx, shard, part.sums)
}
