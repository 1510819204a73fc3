package migrations_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"casq/internal/testing/long"
)

// large makes the tables large that grow: nothing that is waited for may read them whole.
const large = `
	INSERT INTO casq.registry (kind, resource_id, version, synced_version, timeline, event_id, tick, payload, queued_at)
	SELECT 'file', n::text, n, CASE WHEN n % 10 > 0 THEN n END, 1, n, 1, '{}', now() FROM generate_series(1, 20000) AS n;
	INSERT INTO river.river_job (state, queue, priority, kind, args, max_attempts, scheduled_at, finalized_at)
	SELECT CASE WHEN n % 10 = 0 THEN 'available' ELSE 'completed' END::river.river_job_state, 'file', 1 + n % 4, 'casq_sync',
	       jsonb_build_object('kind', 'file', 'resource_id', n::text, 'version', n), 25, now(), CASE WHEN n % 10 > 0 THEN now() END
	FROM generate_series(1, 20000) AS n;
	INSERT INTO casq.events (kind, resource_id, op, scope_id) SELECT 'file', n::text, 'updated', '1' FROM generate_series(1, 20000) AS n;
	INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
	SELECT t.id + n, t.timeline, t.snapshot, t.low_id, t.high_id, t.lsn
	FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t, generate_series(1, 20000) AS n;
	SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
	INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
	SELECT b.pipeline_id, b.project_id, b.name, 'created', b.tag_set, n, b.job FROM casq.builds AS b, generate_series(1, 20000) AS n;
	INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries, replayed_at)
	SELECT 'registry', 1, n, 1, 'file', 'a', 'updated', now(), 'x', 1, now() FROM generate_series(1, 20000) AS n`

// uncounted is a log that nobody counts, where most events count under nothing.
const uncounted = `
	INSERT INTO casq.counter_shards (shard, system_identifier, timeline, timeline_id, tick, nonce)
	SELECT n, l.system_identifier, l.timeline, l.id, t.id, t.nonce FROM casq.ticks AS t JOIN casq.timelines AS l USING (timeline), generate_series(0, 15) AS n
	WHERE t.id = (SELECT max(id) FROM casq.ticks);
	INSERT INTO casq.events (kind, resource_id, op) SELECT 'file', n::text, 'updated' FROM generate_series(1, 30000) AS n`

// One look is for all shards that stand at the same tick, and has an end.
func TestHealthReadsNoLogThatNobodyCounts(t *testing.T) {
	t.Parallel()
	pool := well(t)
	run(t, pool, uncounted)
	for _, sql := range []string{"SELECT * FROM casq.health()", "SELECT * FROM casq.counter_status"} {
		if n := reads(t, pool, sql)["events"]; n > 11000 {
			t.Errorf("%s has read %d rows of events", sql, n)
		}
	}
}

// What has failed over the years is kept in as many groups as there are reasons.
func TestFailuresAreKeptInFewGroups(t *testing.T) {
	t.Parallel()
	pool := well(t)
	run(t, pool, `INSERT INTO casq.registry (kind, resource_id, version, failed_version, failure_reason, timeline, event_id, tick, payload, queued_at)
		SELECT 'file', n::text, n AS version, n AS failed, 'missing', 1, n, 1, '{}', now() - n * interval '11 s' FROM generate_series(1, 1000) AS n`)
	var groups int
	must(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry_groups").Scan(&groups))
	if groups != 1 {
		t.Errorf("1000 failures are kept in %d groups, want 1", groups)
	}
}

// readSQL is how many rows this transaction has read of each of them, in whatever function.
const readSQL = `SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
	WHERE relname IN ('registry', 'events', 'ticks', 'river_job', 'builds', 'event_failures', 'scans', 'refreshes')`

// What people and monitors wait for costs the same however much there is, whatever the
// planner knows of it.
func TestHealthReadsLittle(t *testing.T) {
	long.Test(t)
	t.Parallel()
	pool := well(t)
	run(t, pool, large)
	for _, known := range []string{"never analyzed", "analyzed"} {
		for _, sql := range []string{
			"SELECT * FROM casq.health()", "SELECT casq.health_sentence()", "SELECT * FROM casq.replication_lags",
			"SELECT * FROM casq.replication_lag('file')", "SELECT * FROM casq.registry_summary", "SELECT * FROM casq.registry_failures",
		} {
			for table, rows := range reads(t, pool, sql) {
				if rows > 2000 {
					t.Errorf("%s, %s, has read %d rows of %s", known, sql, rows, table)
				}
			}
		}
		run(t, pool, "ANALYZE")
	}
}

// reads runs a statement, and returns how many rows of which tables it has read.
func reads(t *testing.T, pool interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, sql string,
) map[string]int64 {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	must(t, err)
	defer func() { must(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	read := make(map[string]int64)
	count := func(sign int64) {
		rows, err := tx.Query(t.Context(), readSQL)
		must(t, err)
		var table string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error { read[table] += sign * n; return nil })
		must(t, err)
	}
	count(-1) // what this session has not reported yet
	_, err = tx.Exec(t.Context(), sql)
	must(t, err)
	count(1)
	return read
}
