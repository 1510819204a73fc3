package counter_test

import (
	"errors"
	"maps"
	"testing"

	"casq/counter/internal/buffer"
	"casq/counter/internal/countertest"
	"casq/counter/internal/feed"
	"casq/counter/internal/tally"
	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
)

// manyShards are so many that each master has some of them.
const manyShards = 32

// clustered are counters in a Cluster.
type clustered struct {
	*countertest.Bundle
	cluster *servers.RedisCluster
	buf     *buffer.Buffer
	shards  int
	feeder  *feed.Feeder // that remembers where the shards were
	changes int
}

func setupCluster(t *testing.T, cluster *servers.RedisCluster) *clustered {
	t.Helper()
	c := &clustered{cluster: cluster}
	c.use(t, countertest.On(t, c.cluster, func(cfg *countertest.Settings) { cfg.Shards = manyShards }))
	return c
}

func (c *clustered) use(t *testing.T, b *countertest.Bundle) {
	t.Helper()
	c.Bundle = b
	buf, n := b.Open(t)
	c.buf, c.shards, c.feeder = buf, n, b.Feeds.NewFeeder(buf, n, tally.All(n)...)
}

// slot is where a shard is, and which third of the slots it is in, which is a
// master's at the start.
func (c *clustered) slot(t *testing.T, shard int) (slot int64, third int) {
	t.Helper()
	var slots []int64
	for _, key := range c.buf.Keys(shard) {
		reply, err := c.cluster.Masters[0].Do(t.Context(), "CLUSTER", "KEYSLOT", key)
		slot, ok := reply.(int64)
		if err != nil || !ok {
			t.Fatalf("slot %v, %v", reply, err)
		}
		slots = append(slots, slot)
	}
	if slots[0] != slots[1] {
		t.Fatalf("shard %d has slots %v", shard, slots)
	}
	for slots[0] >= int64((third+1)*16384/3) {
		third++
	}
	return slots[0], third
}

// change changes counters of all shards.
func (c *clustered) change(t *testing.T) {
	t.Helper()
	c.changes++
	c.Exec(t, "INSERT INTO artifacts SELECT $1::int * 1000 + n, n AS project, 10 FROM generate_series(1, 100) AS n", c.changes)
	c.Exec(t, "UPDATE artifacts SET size = size + $1 WHERE id % 3 = $1::int % 3", c.changes)
	c.Exec(t, "DELETE FROM artifacts WHERE id % 5 = $1::int % 5", c.changes)
	c.Tick(t)
}

// buffers gives Redis what has happened; an error is Redis's.
func (c *clustered) buffers(t *testing.T) error {
	t.Helper()
	for {
		more, err := c.feeder.Round(t.Context())
		if err != nil && !errors.Is(err, buffer.ErrRedis) {
			t.Fatal(err)
		}
		if err != nil || !more {
			return err
		}
	}
}

// right compares all counters with the table, before and after a flush.
func (c *clustered) right(t *testing.T) {
	t.Helper()
	for scope, want := range c.Real(t) {
		if got := c.Live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
	c.FlushAll(t)
	if got, want := c.Flushed(t), c.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// TestCluster has one Cluster for all, since its start takes longer than the rest.
//
//nolint:tparallel // One after the other breaks it and mends it.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, servers.RedisClusterOptions{Replicas: 3})
	for _, test := range []struct {
		name string
		play func(*testing.T, *servers.RedisCluster)
	}{
		{"timeline", playLife},
		{"total", playTotal},
		{"a slot moves", playSlotMoves},
		{"scripts stop half-way", playHalfWay},
		{"a replica is down", playReplicaDown},
		{"failovers lose the newest", playFailovers},
	} {
		t.Run(test.name, func(t *testing.T) { test.play(t, cluster) })
	}
}

// Shards spread over the masters of a Cluster, and all is as on one server.
func playLife(t *testing.T, cluster *servers.RedisCluster) {
	c := setupCluster(t, cluster)
	has := make(map[int]bool)
	for shard := range manyShards {
		_, third := c.slot(t, shard)
		has[third] = true
	}
	if len(has) != 3 {
		t.Fatalf("only masters %v have shards", has)
	}
	c.change(t)
	c.Feed(t)
	c.right(t)
	c.change(t)
	c.Feed(t)
	c.right(t)
	c.oneEvicts(t)
}

// oneEvicts makes one master after the other evict what it likes.
func (c *clustered) oneEvicts(t *testing.T) {
	t.Helper()
	for i, master := range c.cluster.Masters {
		for _, policy := range []string{"allkeys-lru", "noeviction"} {
			if _, err := master.Do(t.Context(), "CONFIG", "SET", "maxmemory-policy", policy); err != nil {
				t.Fatal(err)
			}
			if err := buffer.CheckPolicy(t.Context(), c.Redis); (err != nil) != (policy != "noeviction") {
				t.Errorf("master %d has %s: %v", i, policy, err)
			}
		}
	}
}

// Each server is told of scripts that it does not know, and it does not matter
// that another one is down.
func playReplicaDown(t *testing.T, cluster *servers.RedisCluster) {
	c := setupCluster(t, cluster)
	c.change(t)
	c.Feed(t)
	replica := cluster.Replicas[0]
	if err := replica.Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		testredis.Restart(t, replica)
		if err := cluster.WaitOK(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, master := range cluster.Masters {
		if _, err := master.Do(t.Context(), "SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
	}
	c.change(t)
	if err := c.buffers(t); err != nil {
		t.Errorf("the scripts are not known: %v", err)
	}
	c.right(t)
}

// On a Cluster the shards are on several servers, each of which may have
// forgotten the script.
func playTotal(t *testing.T, cluster *servers.RedisCluster) {
	b := countertest.Namespaces(t, func(c *countertest.Settings) { c.Redis = testredis.Client(t, cluster) })
	b.Exec(t, "INSERT INTO projects SELECT n, 1 FROM generate_series(1, 40) AS n")
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(1, 40) AS n")
	b.Feed(t)
	for range 2 {
		if got := b.LiveTotal(t, "1"); got != (countertest.Pair{400, 40}) {
			t.Errorf("live %v", got)
		}
		for _, master := range cluster.Masters {
			if _, err := master.Do(t.Context(), "SCRIPT", "FLUSH"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
