package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/redisurl"
	"casq/migrations"
	"casq/transfer"
	"casq/transfer/bucket"
)

// retryEach calls f each second until it succeeds, ctx is done, or final says
// that waiting will not help. Each failed try is logged: a program that waits
// silently looks hung.
func (w *worker) retryEach(ctx context.Context, what string, f func() error, final func(error) bool) error {
	for {
		err := f()
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
		w.log.WarnContext(ctx, "not ready, trying again", "waiting_for", what, "err", err)
		_ = pause.For(ctx, time.Second)
	}
}

func never(error) bool { return false }

// openRedis opens a configured Redis and does not wait for it: nothing that a
// worker does needs it. That it does not answer is told once here; what uses it
// tells how it goes on without it.
func (w *worker) openRedis(ctx context.Context) error {
	if w.cfg.RedisURL == "" {
		return nil
	}
	var err error
	if w.redis, err = redisurl.Open(w.cfg.RedisURL); err != nil {
		return fmt.Errorf("open redis: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.redis.Ping(ctx).Err(); err != nil {
		w.log.WarnContext(ctx, "redis does not answer, going on without it", "err", err)
	}
	return nil
}

// waitFolders opens sources and targets. A folder that is not there may be one
// that is not mounted yet, and a bucket's server one that is being started.
func (w *worker) waitFolders(ctx context.Context) error {
	w.roles.wait("sources and targets")
	return w.retryEach(ctx, "sources and targets", func() (err error) {
		if w.movers, err = w.openMovers(ctx); err != nil {
			w.roles.set(foldersRole, false, database.Explain(err))
			return err
		}
		w.roles.drop(foldersRole)
		return nil
	}, func(err error) bool {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, bucket.ErrUnreachable) && !errors.Is(err, transfer.ErrElsewhere)
	})
}

// waitSource waits for a source that is reachable and migrated.
func (w *worker) waitSource(ctx context.Context) error {
	if w.cfg.SourceURL == w.cfg.HomeURL {
		return nil
	}
	return w.retryEach(ctx, "source", func() error {
		if err := migrations.Check(ctx, w.source); err != nil {
			w.roles.set("registry", false, database.Explain(err))
			return fmt.Errorf("check the source: %w", err)
		}
		w.roles.set("registry", true, "")
		return nil
	}, never)
}
