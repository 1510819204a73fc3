package buffer

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// CheckPolicy refuses a Redis that evicts whatever it likes: each time that it took a
// part of a shard, the shard would be replayed. Of a Cluster, each master is
// asked.
func CheckPolicy(ctx context.Context, client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, AnswerIn)
	defer cancel()
	var err error
	if cluster, ok := client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return keeps(ctx, master) })
	} else {
		err = keeps(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRedis, err)
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
