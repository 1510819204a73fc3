package feed

import (
	"context"
	"errors"

	"casq/counter/internal/buffer"
	"casq/counter/internal/shards"
	"casq/counter/internal/tally"
	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// Flush writes what is pending in Redis to Postgres and returns the number of
// counters that it changed. It may be called at any time, twice, or by several
// processes; a shard that is not intact is left to a [Feeder]. An error
// may be about some shards only: the others were flushed.
func (f *Feed) Flush(ctx context.Context) (counters int, err error) {
	buf, n, err := f.Open(ctx)
	if err != nil || buf == nil {
		return 0, err
	}
	// A shard that does not answer is not waited for a second time, and no shard
	// waits for another's server.
	found, err := buf.ReadStamps(ctx, tally.All(n))
	errs := []error{err}
	for shard := range n {
		if s, ok := found[shard]; !ok || s.Idle() {
			continue
		}
		for again := true; again; {
			var changed int
			changed, again, err = f.FlushShard(ctx, buf, shard)
			counters += changed
			errs = append(errs, err)
		}
	}
	return counters, errors.Join(errs...)
}

// FlushShard is three steps, each of which may be repeated; a process may die after
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
func (f *Feed) FlushShard(ctx context.Context, buf *buffer.Buffer, shard int) (changed int, again bool, err error) {
	part, err := buf.Freeze(ctx, shard)
	if errors.Is(err, buffer.ErrNotIntact) {
		return 0, false, nil
	}
	if err != nil || part.Base == part.Head {
		return 0, false, err
	}
	to, err := part.Head.Position()
	if err != nil {
		return 0, false, err
	}
	f.cfg.Hook("flush:frozen")
	flushed := false
	err = pgx.BeginTxFunc(ctx, f.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		at, err := shards.Lock(ctx, tx, shard)
		if err != nil {
			return err
		}
		f.cfg.Hook("flush:locked")
		if flushed = buffer.StampOf(at) == part.Head; flushed || buffer.StampOf(at) != part.Base {
			return nil
		}
		return f.FlushPart(ctx, tx, shard, part, to, &flushed)
	})
	if err != nil || !flushed {
		return 0, false, err
	}
	f.cfg.Hook("flush:committed")
	err = buf.Drop(ctx, shard, part)
	return len(part.Sums), part.Left && err == nil, err
}

// FlushPart adds a part to a shard that is locked and stands at the part's beginning.
func (f *Feed) FlushPart(ctx context.Context, tx pgx.Tx, shard int, part buffer.Part, to eventlog.Position, flushed *bool) error {
	moved, err := shards.Move(ctx, tx, shard, to)
	if err != nil {
		return err
	}
	if !moved {
		// Home has lost these ticks in a failover. The feeder finds that out as
		// well, and replays the shard.
		f.cfg.Logger.WarnContext(ctx, "redis has counted what the log has lost, not flushed", "shard", shard, "head", string(part.Head))
		return nil
	}
	*flushed = true
	return shards.Add(ctx, tx, shard, part.Sums)
}
