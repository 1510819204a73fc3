package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitRedis waits until a configured Redis answers. Nothing is kept in it yet;
// a wrong REDIS_URL should show today and not with the release that needs it.
func (w *worker) waitRedis(ctx context.Context) error {
	if w.cfg.RedisURL == "" {
		return nil
	}
	opts, err := redis.ParseURL(w.cfg.RedisURL)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for redis: %w", ctx.Err())
		}
		w.log.WarnContext(ctx, "redis is not reachable, trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
