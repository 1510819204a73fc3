package worker

import (
	"log/slog"
	"testing"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/jobs"
)

// A worker counts what it follows, with Redis of each kind and without one, and
// recounts on demand.
func TestWorkerCounts(t *testing.T) {
	t.Parallel()
	for name, redisURL := range map[string]func(t *testing.T) string{
		"without redis": func(*testing.T) string { return "" },
		"with redis":    func(t *testing.T) string { return testredis.Start(t).URL() },
		"on a cluster":  func(t *testing.T) string { return testredis.StartCluster(t, servers.RedisClusterOptions{}).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(c *Config) { c.RedisURL = redisURL(t) })
			for _, path := range []string{"a", "b", "c"} {
				b.put(t, path, "content of "+path)
			}
			b.until(t, "a", func() bool { return b.counted(t, "size = 36 AND items = 3 AND exact") })

			b.exec(t, "UPDATE casq.counters SET size = 1")
			queue, err := jobs.NewQueue(b.pool, slog.New(slog.NewTextHandler(b.log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			counting := jobs.NewCounting(queue)
			asking := recount.New(recount.Config{
				Home: b.pool, Jobs: counting, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
				Counters: counter.New(counter.Config{Home: b.pool, Jobs: counting, Logger: slog.New(slog.NewTextHandler(b.log, nil))}),
			})
			if _, _, err := asking.Refresh(t.Context(), recount.Request{Kind: "artifact", Scopes: []string{"1"}}); err != nil {
				t.Fatal(err)
			}
			b.exec(t, "DELETE FROM artifacts WHERE path = 'b'")
			b.until(t, "a", func() bool { return b.counted(t, "size = 24 AND items = 2 AND refresh IS NOT NULL") })
			b.until(t, "a", func() bool { return b.count(t, "synced_version IS DISTINCT FROM version") == 0 })
		})
	}
}

// counted tells whether the counter of scope 1 meets a condition.
func (b *testBundle) counted(t *testing.T, condition string) (is bool) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM casq.statistics WHERE kind = 'artifact' AND scope_id = '1' AND "+condition+")").Scan(&is)
	if err != nil {
		t.Fatal(err)
	}
	return is
}
