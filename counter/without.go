package counter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"casq/internal/pause"

	"github.com/redis/go-redis/v9"
)

// withoutRedis is how long batches go to Postgres before Redis is asked again.
const withoutRedis = 5 * time.Second

// without writes batches to Postgres until Redis answers. Whether it does is
// asked at the side: a server that hangs would hold up the counters each time.
//
// One of a Cluster's masters that is away is enough to write all shards there.
// Most Clusters refuse everything until its replica is promoted
// (cluster-require-full-coverage is yes by default), so that no more is gained by
// telling the shards apart.
func (c *Counters) without(ctx context.Context, buf *buffer, n int) error {
	asking, stop := context.WithCancel(ctx)
	answers := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for _ = pause.For(asking, c.askAgain); asking.Err() == nil; _ = pause.For(asking, c.askAgain) {
			if c.answers(asking, buf, n) {
				close(answers)
				return
			}
		}
	})
	defer group.Wait()
	defer stop()
	return c.follow(ctx, answers, false)
}

// answers tells whether all shards can be in Redis again.
func (c *Counters) answers(ctx context.Context, buf *buffer, n int) bool {
	if c.fits(ctx) != nil {
		return false
	}
	_, err := buf.readStamps(ctx, all(n))
	return err == nil
}

// fits refuses a Redis that evicts whatever it likes: each time that it took a
// part of a shard, the shard would be replayed. Of a Cluster, each master is
// asked.
func (c *Counters) fits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	var err error
	if cluster, ok := c.cfg.Redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return keeps(ctx, master) })
	} else {
		err = keeps(ctx, c.cfg.Redis)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errRedis, err)
	}
	return nil
}

// keeps returns an error for a server that evicts keys without an end.
func keeps(ctx context.Context, server redis.Cmdable) error {
	info, err := server.Info(ctx, "memory").Result()
	if err != nil {
		return fmt.Errorf("ask for maxmemory-policy: %w", err)
	}
	for line := range strings.Lines(info) {
		policy, found := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:")
		if found && strings.HasPrefix(policy, "allkeys-") {
			return fmt.Errorf("maxmemory-policy is %s, which evicts counters: set it to noeviction", policy)
		}
	}
	return nil
}
