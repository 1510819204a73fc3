// Package testredis gives a test a Redis of its own, alone, as a Cluster or behind
// a Sentinel, which it may kill, freeze and start again.
package testredis

import (
	"context"
	"testing"
	"time"

	"casq/internal/redisurl"
	"casq/internal/testing/servers"

	"github.com/redis/go-redis/v9"
)

// timeout is for a server's start or end on a busy machine.
const timeout = time.Minute

// Start starts a server that is stopped when the test ends.
func Start(t testing.TB) *servers.Redis {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	server, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		t.Fatalf("start redis: %v", err)
	}
	stopAtEnd(t, server)
	return server
}

// StartCluster starts a Cluster that is stopped when the test ends.
func StartCluster(t testing.TB, options servers.RedisClusterOptions) *servers.RedisCluster {
	t.Helper()
	notShort(t)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cluster, err := servers.StartRedisCluster(ctx, options)
	if err != nil {
		t.Fatalf("start a redis cluster: %v", err)
	}
	stopAtEnd(t, cluster)
	return cluster
}

// StartSentinel starts a master, a replica and a Sentinel, which are stopped when
// the test ends.
func StartSentinel(t testing.TB) *servers.RedisSentinel {
	t.Helper()
	notShort(t)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	sentinel, err := servers.StartRedisSentinel(ctx, servers.RedisSentinelOptions{})
	if err != nil {
		t.Fatalf("start redis with a sentinel: %v", err)
	}
	stopAtEnd(t, sentinel)
	return sentinel
}

func stopAtEnd(t testing.TB, s interface{ Stop(context.Context) error }) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
}

// Client returns a client as a worker has it, of whatever has a URL, closed when
// the test ends.
func Client(t testing.TB, server interface{ URL() string }) redis.UniversalClient {
	t.Helper()
	client, err := redisurl.Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// Restart starts a server again that was killed, without what it had.
func Restart(t testing.TB, server *servers.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := server.Start(ctx); err != nil {
		t.Fatalf("start redis again: %v", err)
	}
}

// notShort skips a test that needs several servers, and waits until they notice
// that one is lost.
func notShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("several Redis servers are not started with -short")
	}
}
