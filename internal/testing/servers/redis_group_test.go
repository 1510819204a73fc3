package servers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func startCluster(t *testing.T, options RedisClusterOptions) (*RedisCluster, *redis.ClusterClient) {
	t.Helper()
	began := time.Now()
	c, err := StartRedisCluster(limit(t), options)
	must(t, err)
	t.Log("started in", time.Since(began))
	stopAtEnd(t, c)
	o, err := redis.ParseClusterURL(c.URL())
	must(t, err)
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	o.ClusterStateReloadInterval = 100 * time.Millisecond
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { client.Close() })
	return c, client
}

// What a replica was cut off from it does not know when it is promoted, and what
// the other servers have stays.
func TestClusterLosesWhatAReplicaWasCutOffFrom(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several servers, and waiting until one is missed")
	}
	c, client := startCluster(t, RedisClusterOptions{Replicas: 1})
	ctx := limit(t)
	// a, b and c lie in slots of the third, the first and the second.
	for _, key := range []string{"a", "b", "c"} {
		must(t, client.Set(ctx, key, "old", 0).Err())
	}
	master, replica := c.Masters[0], c.Replicas[0]
	must(t, poll(ctx, func() (bool, error) {
		return replica.says(ctx, "db0:keys=1,expires=0,avg_ttl=0", "INFO", "keyspace"), nil
	}))
	must(t, master.Cut(ctx, replica))
	for _, key := range []string{"a", "b", "c"} {
		must(t, client.Set(ctx, key, "new", 0).Err())
	}
	must(t, master.Kill())
	must(t, c.Promote(ctx, replica))
	must(t, c.WaitOK(ctx))
	for key, want := range map[string]string{"a": "new", "b": "old", "c": "new"} {
		must(t, poll(ctx, func() (bool, error) {
			got, err := client.Get(ctx, key).Result()
			if err == nil && got != want {
				return false, fmt.Errorf("%s is %s, want %s", key, got, want)
			}
			return err == nil, nil // The client may not know yet.
		}))
	}
	// The old master comes back as a replica, and gets what it does not have.
	must(t, replica.Mend(ctx))
	must(t, master.Start(ctx))
	must(t, poll(ctx, func() (bool, error) { return master.says(ctx, "master_link_status:up", "INFO", "replication"), nil }))
}

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several servers, and waiting until one is missed")
	}
	ctx := limit(t)
	began := time.Now()
	s, err := StartRedisSentinel(ctx, RedisSentinelOptions{})
	must(t, err)
	t.Log("started in", time.Since(began))
	stopAtEnd(t, s)
	o, err := redis.ParseFailoverURL(s.URL())
	must(t, err)
	client := redis.NewFailoverClient(o)
	t.Cleanup(func() { client.Close() })
	must(t, client.Set(ctx, "k", "v", 0).Err())
	must(t, client.Do(ctx, "WAIT", 1, 0).Err())
	must(t, s.Master.Kill())
	must(t, s.Failover(ctx))
	must(t, poll(ctx, func() (bool, error) {
		got, err := client.Get(ctx, "k").Result()
		return err == nil && got == "v", nil
	}))
	must(t, client.Set(ctx, "k", "w", 0).Err())
	reply, err := s.Replica.Do(ctx, "INFO", "replication")
	if all, _ := reply.(string); err != nil || !strings.Contains(all, "role:master") {
		t.Errorf("the replica says %s, %v", all, err)
	}
}
