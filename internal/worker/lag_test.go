package worker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// The lag of a second site that reads a standby: 0 when nothing happens, in the stage in which
// something waits, and 0 again.
func TestLagOfASecondSite(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := &testBundle{url: cluster.URL(), pool: testdb.Pool(t, cluster.URL()), source: t.TempDir(), log: &testLog{t: t}}
	b.exec(t, artifactsTable)
	b.exec(t, trackArtifacts)
	start := func(cfg Config) {
		cfg.ClaimTTL, cfg.CursorWait, cfg.Logger = 3*time.Second, 100*time.Millisecond, slog.New(slog.NewTextHandler(b.log, nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Run(ctx, cfg) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("worker: %v", err)
			}
		})
	}
	start(Config{HomeURL: b.url})
	db := testdb.New(t)
	b.target = t.TempDir()
	start(Config{HomeURL: db.URL, SourceURL: cluster.StandbyURL(0), ReportURL: b.url, ArtifactSource: b.source, ArtifactTarget: b.target})
	home := db.Pool(t)
	until := func(condition string) {
		t.Helper()
		await.Row(t, 30*time.Second, home, "SELECT count(*) > 0 FROM casq.replication_lags WHERE kind = 'artifact' AND "+condition)
	}
	const idle = "lag_seconds < 1 AND to_standby_seconds = 0 AND to_registry_seconds < 1 AND queue_seconds = 0 AND copy_seconds = 0 AND resources = 0"
	b.put(t, "a", "text")
	b.until(t, "a", func() bool { return b.inPlace("a", "text") })
	until(idle)

	standby := cluster.Standbys[0]
	if err := standby.PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.put(t, "b", "text")
	until("to_standby_seconds > 2 AND lag_seconds >= to_standby_seconds")
	if err := standby.ResumeReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.until(t, "b", func() bool { return b.inPlace("b", "text") })
	until(idle)

	// Nobody works: it is in the registry, and known to have been late before.
	if _, err := home.Exec(t.Context(), `INSERT INTO casq.log_delays (cursor, since, delay)
		VALUES ('registry', date_bin('10 s', now() - interval '1 minute', 'epoch'), '1 hour');
		UPDATE river.river_queue SET paused_at = now() WHERE name = 'artifact'`); err != nil {
		t.Fatal(err)
	}
	if _, err := home.Exec(t.Context(), `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, queued_at)
		VALUES ('artifact', 'c', 1, 1, 1, '{}', now() - interval '1 minute')`); err != nil {
		t.Fatal(err)
	}
	until(`lag_seconds BETWEEN 3600 AND 3700 AND queue_seconds BETWEEN 50 AND 100 AND resources = 1`)
	await.Row(t, 30*time.Second, b.pool, "SELECT count(*) > 0 FROM casq.follower_status WHERE events = 0 AND resources IS NOT NULL")
}
