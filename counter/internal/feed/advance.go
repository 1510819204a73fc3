package feed

import (
	"context"
	"errors"

	"casq/counter/internal/buffer"

	"golang.org/x/sync/errgroup"
)

// Advance brings shards to the newest tick, in Redis and in Postgres.
func (f *Feed) Advance(ctx context.Context, shards ...int) error {
	buf, n, err := f.Open(ctx)
	if err != nil {
		return err
	}
	err = f.advanceIn(ctx, buf, n, shards)
	if errors.Is(err, buffer.ErrRedis) {
		return f.advanceIn(ctx, nil, n, shards)
	}
	return err
}

func (f *Feed) advanceIn(ctx context.Context, buf *buffer.Buffer, n int, shards []int) error {
	feeder := f.NewFeeder(buf, n, shards...)
	if err := feeder.check(ctx); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = feeder.once(ctx); err != nil {
			return err
		}
	}
	if buf == nil {
		return nil
	}
	flushes, ctx := errgroup.WithContext(ctx)
	flushes.SetLimit(f.cfg.SideBySide)
	for _, shard := range shards {
		flushes.Go(func() error {
			_, _, err := f.FlushShard(ctx, buf, shard)
			return err
		})
	}
	return flushes.Wait()
}

// once brings all shards on by a batch, stores that, and tells whether one of
// them is inside a step then. When another feeder brings them on, that will do.
func (f *Feeder) once(ctx context.Context) (inStep bool, err error) {
	for at, shards := range f.groups() {
		if _, err := f.feed(ctx, at, shards, true); err != nil || f.stored == nil {
			return false, err
		}
	}
	for _, at := range f.read {
		inStep = inStep || at.InStep()
	}
	return inStep, nil
}
