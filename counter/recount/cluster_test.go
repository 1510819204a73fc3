package recount

import (
	"maps"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
)

// Shards are on three servers, and a recount swaps into all of them.
//
//nolint:tparallel // One after the other: a Cluster of its own takes longer than both.
func TestRecountOnACluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, servers.RedisClusterOptions{})
	t.Run("all", func(t *testing.T) {
		b := setupOn(t, cluster)
		b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(1, 100) AS n")
		b.Feed(t)
		b.FlushAll(t)
		b.Exec(t, "UPDATE casq.counters SET size = size + 1")
		b.Exec(t, "DELETE FROM artifacts WHERE id % 5 = 0")
		b.recount(t, Request{Kind: "artifact", All: true})
		b.Exec(t, "UPDATE artifacts SET size = size + 1 WHERE id % 3 = 0")
		b.Feed(t)
		b.FlushAll(t)
		if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
			t.Errorf("flushed %v, want %v", got, want)
		}
	})
	t.Run("model", func(t *testing.T) {
		m := &model{t: t, enough: 2 * time.Second}
		m.testBundle = setupOn(t, cluster, func(c *settings) { c.PageSize, c.Hook = 4, m.between })
		m.play()
	})
}
