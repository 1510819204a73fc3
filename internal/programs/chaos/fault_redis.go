package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/internal/pause"

	"github.com/redis/go-redis/v9"
)

func flushRedis(*rand.Rand, config) injection {
	return injection{
		what:  "FLUSHALL",
		needs: []string{resourceRedis},
		run: func(ctx context.Context, c *chaos) error {
			options, err := redis.ParseURL(c.site.source.Redis.URL())
			if err != nil {
				return err
			}
			client := redis.NewClient(options)
			defer client.Close()
			return client.FlushAll(ctx).Err()
		},
	}
}

// restartRedis kills Redis, which keeps nothing, and starts it again.
func restartRedis(r *rand.Rand, cfg config) injection {
	down := between(r, 0, 2*cfg.ttl)
	return injection{
		what:  fmt.Sprintf("kill Redis, start it again after %s", down),
		needs: []string{resourceRedis},
		run: func(ctx context.Context, c *chaos) error {
			if err := c.site.source.Redis.Kill(); err != nil {
				return err
			}
			if err := pause.For(ctx, down); err != nil {
				return err
			}
			return c.site.source.Redis.Start(ctx)
		},
	}
}

// freezeRedis leaves connections open on which nothing answers, for less or more
// than a lease is good.
func freezeRedis(r *rand.Rand, cfg config) injection {
	d := between(r, 200*time.Millisecond, 2*cfg.ttl)
	return injection{
		what:  fmt.Sprintf("freeze Redis for %s", d),
		needs: []string{resourceRedis},
		run:   func(ctx context.Context, c *chaos) error { return freeze(ctx, c.site.source.Redis, d) },
	}
}
