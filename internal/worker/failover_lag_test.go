package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"casq/internal/cursor"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// watched is what a home has told of its lag while it was looked at all the time.
type watched struct {
	looks       int
	least, most float64 // of any stage, in seconds
	said        []string
	err         error
}

// watch looks at a home, wherever it is, until stop is called. While it does not answer, it says
// nothing.
func watch(t *testing.T, home *pgxpool.Pool) (stop func() watched) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan watched, 1)
	go func() {
		var w watched
		defer func() { done <- w }()
		for ctx.Err() == nil && w.err == nil {
			w.look(ctx, home)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() watched { cancel(); return <-done }
}

func (w *watched) look(ctx context.Context, home *pgxpool.Pool) {
	var least, most float64
	var said []string
	err := home.QueryRow(ctx, `SELECT
		(SELECT min(least(lag_seconds, to_standby_seconds, to_registry_seconds, queue_seconds, copy_seconds)) FROM casq.replication_lags),
		(SELECT max(greatest(lag_seconds, to_standby_seconds, to_registry_seconds, queue_seconds, copy_seconds)) FROM casq.replication_lags),
		(SELECT array_agg(severity || ': ' || what) FROM casq.health() WHERE severity <> 'ok')`).Scan(&least, &most, &said)
	var scan pgx.ScanArgError
	switch {
	case errors.As(err, &scan):
		w.err = err
	case err == nil:
		w.looks++
		w.least, w.most = min(w.least, least), max(w.most, most)
		for _, s := range said {
			if !slices.Contains(w.said, s) {
				w.said = append(w.said, s)
			}
		}
	}
}

// wants has no lag been told that was none: neither less than nothing, nor more than the time in
// which something may not have gone on.
func (w watched) wants(t *testing.T, most time.Duration) {
	t.Helper()
	if w.err != nil || w.looks == 0 {
		t.Fatalf("%d looks: %v", w.looks, w.err)
	}
	if w.least < 0 || w.most > most.Seconds() {
		t.Errorf("lags from %.3f to %.3f s were told, want some from 0 to %s", w.least, w.most, most)
	}
	for _, s := range w.said {
		if strings.Contains(s, "are late") {
			t.Errorf("it was said that %s", s)
		}
	}
	t.Logf("%d looks, %.3f to %.3f s, said: %q", w.looks, w.least, w.most, w.said)
}

// begin runs a worker until the test ends.
func (b *testBundle) begin(t *testing.T, cfg Config) {
	t.Helper()
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

const (
	lagIdle = `SELECT coalesce(bool_and(lag_seconds < 1 AND to_standby_seconds = 0 AND queue_seconds = 0 AND copy_seconds = 0 AND resources = 0), false)
		FROM casq.replication_lags`
	healthOK = "SELECT bool_and(ok) FROM casq.health()"
)

// The standby that is followed is promoted. Until ticks are taken there nothing is known to be in
// step, which is said; then it is as before, and what is told in between is no more than that.
func TestLagWhenTheSourceFailsOver(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := &testBundle{url: cluster.URL(), pool: testdb.Pool(t, cluster.URL()), source: t.TempDir(), target: t.TempDir(), log: &testLog{t: t}}
	b.exec(t, artifactsTable)
	b.exec(t, trackArtifacts)
	b.begin(t, Config{HomeURL: b.url})
	db := testdb.New(t)
	home := db.Pool(t)
	b.begin(t, Config{HomeURL: db.URL, SourceURL: cluster.StandbyURL(0), ArtifactSource: b.source, ArtifactTarget: b.target})
	b.put(t, "a", "text")
	b.until(t, "a", func() bool { return b.inPlace("a", "text") })
	await.Row(t, 30*time.Second, home, lagIdle)

	stop, began := watch(t, home), time.Now()
	standby := cluster.Standbys[0]
	if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	await.Row(t, time.Minute, home, "SELECT count(*) > 0 FROM casq.health() WHERE NOT ok AND what LIKE 'the source has no new tick%' AND since > now() - interval '1 minute'")
	b.pool = testdb.Pool(t, cluster.StandbyURL(0))
	b.begin(t, Config{HomeURL: cluster.StandbyURL(0)})
	b.put(t, "b", "text")
	b.until(t, "b", func() bool { return b.inPlace("b", "text") })
	await.Row(t, 30*time.Second, home, lagIdle)
	await.Row(t, 30*time.Second, home, healthOK)
	stop().wants(t, time.Since(began)+10*time.Second)
	await.Row(t, 10*time.Second, home, "SELECT sum(resources) = 0 AND sum(bytes) = 0 FROM casq.at_risk")
}

// Home fails over while something waits. Its new primary tells of it what the old one did, also
// before a worker has found it.
func TestLagWhenHomeFailsOver(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db, cluster := testdb.New(t), testdb.NewCluster(t, testdb.Standbys(1))
	b := &testBundle{url: db.URL, pool: db.Pool(t), source: t.TempDir(), target: t.TempDir(), log: &testLog{t: t}}
	b.exec(t, artifactsTable)
	b.exec(t, trackArtifacts)
	b.begin(t, Config{HomeURL: b.url})
	either := firstOf(t, cluster.URL(), cluster.StandbyURL(0))
	b.begin(t, Config{HomeURL: either, SourceURL: b.url, ReportURL: b.url, ArtifactSource: b.source, ArtifactTarget: b.target})
	home := testdb.Pool(t, either)
	b.put(t, "a", "text")
	b.until(t, "a", func() bool { return b.inPlace("a", "text") })
	await.Row(t, 30*time.Second, home, lagIdle)
	queue, err := jobs.NewQueue(home, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Pause(t.Context(), "artifact"); err != nil {
		t.Fatal(err)
	}
	b.put(t, "b", "four")
	await.Row(t, 30*time.Second, home, "SELECT sum(resources) = 1 AND sum(bytes) = 4 FROM casq.at_risk")
	// The log has been still for long: its holder has said nothing for as long as it may.
	await.Row(t, 30*time.Second, home, "SELECT caught_up_to IS NULL FROM casq.cursors")
	if _, err := home.Exec(t.Context(), "UPDATE casq.cursors SET moved_at = now() - $1::interval, beat_at = now() - $1::interval", cursor.DefaultMoveEvery); err != nil {
		t.Fatal(err)
	}

	stop := watch(t, home)
	standby := cluster.Standbys[0]
	if err := standby.WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	promoted := testdb.Pool(t, cluster.StandbyURL(0))
	await.Row(t, 10*time.Second, promoted, "SELECT sum(resources) = 1 AND sum(bytes) = 4 FROM casq.at_risk")
	await.Row(t, 30*time.Second, promoted, "SELECT coalesce(bool_and(to_registry_seconds < 1 AND resources = 1 AND lag_seconds >= queue_seconds), false) FROM casq.replication_lags")
	queue, err = jobs.NewQueue(promoted, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Resume(t.Context(), "artifact"); err != nil {
		t.Fatal(err)
	}
	b.until(t, "b", func() bool { return b.inPlace("b", "four") })
	await.Row(t, 30*time.Second, promoted, lagIdle)
	await.Row(t, time.Minute, promoted, healthOK)
	stop().wants(t, 5*time.Minute)
}

// firstOf is the URL of whichever of two servers is a primary.
func firstOf(t *testing.T, urls ...string) string {
	t.Helper()
	var hosts, ports []string
	var c *pgx.ConnConfig
	for _, url := range urls {
		var err error
		if c, err = pgx.ParseConfig(url); err != nil {
			t.Fatal(err)
		}
		hosts, ports = append(hosts, c.Host), append(ports, strconv.Itoa(int(c.Port)))
	}
	return "host=" + strings.Join(hosts, ",") + " port=" + strings.Join(ports, ",") + " user=" + c.User + " password='" + c.Password +
		"' dbname=" + c.Database + " target_session_attrs=read-write"
}
