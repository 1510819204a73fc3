package view

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// following follows the tracked views of a database until the returned function is called.
func following(t *testing.T, pool *pgxpool.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ticker := eventlog.Ticker{Pool: pool, Logger: slog.New(slog.DiscardHandler)}
	var group sync.WaitGroup
	group.Go(func() { ticker.Run(ctx) })
	group.Go(func() {
		if err := Run(ctx, Config{Home: pool, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); group.Wait() }
}

// A standby is promoted that has notes which nobody has read, and lacks others that were read,
// with the image's rows that came of them: notes, position and image are of one database, and
// are lost together. What was read there is listed on the standby, too.
func TestFailover(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	first, standby := &testBundle{pool: testdb.Pool(t, cluster.URL())}, cluster.Standbys[0]
	second := &testBundle{pool: testdb.Pool(t, cluster.StandbyURL(0))}
	for _, sql := range []string{forge, people, trackRepos} {
		first.exec(t, sql)
	}
	stop := following(t, first.pool)
	await.Row(t, time.Minute, first.pool, "SELECT filled_at IS NOT NULL FROM casq.view_status")
	stop()
	if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	second.want(t, "SELECT format('%s %s', listed, keys) FROM casq.resources('repository', NULL, 10, NULL)", "t {ann/x.git,ann/y.git,bob/x.git}")
	first.exec(t, `UPDATE "user" SET name = 'rob' WHERE id = 2`) // not read, and not lost
	if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := standby.CutOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop = following(t, first.pool)
	first.exec(t, `UPDATE repository SET name = 'lost' WHERE id = 1`)
	await.Row(t, time.Minute, first.pool, "SELECT EXISTS (SELECT FROM casq.image_repository WHERE path = 'ann/lost.git')")
	stop()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.exec(t, `UPDATE repository SET name = 'w' WHERE id = 2`)
	stop = following(t, second.pool)
	defer stop()
	await.Row(t, time.Minute, second.pool, "SELECT array_agg(path ORDER BY repo_id) = '{ann/x.git,ann/w.git,rob/x.git}' FROM casq.image_repository")
	second.wantSame(t)
}
