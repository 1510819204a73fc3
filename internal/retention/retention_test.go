package retention

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

type testBundle struct {
	pool *pgxpool.Pool
	cfg  Config
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{pool: testdb.New(t).Pool(t)}
	b.cfg = Config{Home: b.pool, Logger: slog.New(slog.DiscardHandler), Tombstones: 24 * time.Hour, Reports: 24 * time.Hour, Batch: 2}
	return b
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *testBundle) round(t *testing.T) {
	t.Helper()
	if err := Round(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
}

func (b *testBundle) want(t *testing.T, what, sql, want string) {
	t.Helper()
	var got string
	if err := b.pool.QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
		t.Errorf("%s: %q, want %q; %v", what, got, want, err)
	}
}

// row adds a row that was removed some hours ago, with a tick of timeline 2.
func (b *testBundle) row(t *testing.T, kind, key string, hours int, tick int64, change string) {
	t.Helper()
	b.exec(t, "SELECT casq.define_kind($1, 'none')", kind)
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, version, timeline, event_id, tick, payload, deleted_at, synced_version)
		VALUES ($1, $2, 7, 2, 1, $3, '{}', clock_timestamp() - $4 * interval '1 hour', 7)`, kind, key, tick, hours)
	if change != "" {
		b.exec(t, "UPDATE casq.registry SET "+change+" WHERE kind = $1 AND resource_id = $2", kind, key)
	}
}

const left = "SELECT coalesce(string_agg(kind || '/' || resource_id, ' ' ORDER BY kind, resource_id), '') FROM casq.registry"

func TestOldTombstonesArePurged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.row(t, "a", "old1", 30, 10, "")
	b.row(t, "a", "old2", 40, 30, "")
	b.row(t, "a", "old3", 50, 20, "")
	b.row(t, "a", "young", 20, 90, "")
	b.row(t, "a", "live", 0, 91, "deleted_at = NULL")
	b.row(t, "a", "removing", 30, 92, "synced_version = NULL")
	b.row(t, "a", "claimed", 30, 93, "claim = gen_random_uuid(), claim_process = gen_random_uuid()")
	b.row(t, "b", "old", 30, 5, "timeline = 1")
	b.row(t, "c", "old", 30, 5, "")
	b.exec(t, "INSERT INTO casq.registry_floors VALUES ('c', 2, 50)")
	b.round(t)
	b.want(t, "left", left, "a/claimed a/live a/removing a/young")
	b.want(t, "floors", "SELECT string_agg(format('%s %s/%s', kind, timeline, tick), ', ' ORDER BY kind) FROM casq.registry_floors", "a 2/30, b 1/5, c 2/50")
}

// A page that a reconcile is applying is waited for, so that it does not bring
// back what it could not know to be gone; a row that is busy is not.
func TestPurgeWaitsForPagesOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.row(t, "a", "busy", 40, 10, "")
	b.row(t, "a", "old", 30, 20, "")
	b.exec(t, "INSERT INTO casq.registry_floors VALUES ('a', 0, 0)")
	lock := func(sql string) pgx.Tx {
		tx, err := b.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	page := lock("SELECT FROM casq.registry_floors WHERE kind = 'a' FOR SHARE")
	lock("SELECT FROM casq.registry WHERE resource_id = 'busy' FOR NO KEY UPDATE")
	ended := make(chan error, 1)
	go func() { ended <- Round(t.Context(), b.cfg) }()
	until(t, b.pool, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
	b.want(t, "left while a page is applied", left, "a/busy a/old")
	if err := page.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the purge waits for a row")
	}
	b.want(t, "left", left, "a/busy")
}

func until(t *testing.T, pool *pgxpool.Pool, condition string) {
	t.Helper()
	await.Row(t, 30*time.Second, pool, condition)
}

func TestOldReportsAreDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.reconcile_runs (reason, finished_at)
		SELECT 'asked', clock_timestamp() - hours * interval '1 hour' FROM unnest(ARRAY[30, 40, 50, 20, NULL]) AS hours`)
	b.exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries, replayed_at)
		SELECT 'registry', 1, id, 1, 'a', 'x', 'created', now(), '', 3, clock_timestamp() - hours * interval '1 hour'
		FROM unnest(ARRAY[30, 40, 50, 20, NULL]) WITH ORDINALITY AS f (hours, id)`)
	b.round(t)
	b.want(t, "reports", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM casq.reconcile_runs", "4 5")
	b.want(t, "failures", "SELECT string_agg(event_id::text, ' ' ORDER BY event_id) FROM casq.event_failures", "4 5")
}

// Rounds of many workers at once, as an ordinary role that owns its database
// has them, while resources are written.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "SELECT casq.define_kind('resource', 'none')")
	for i := range 10 {
		b.exec(t, "SELECT casq.append_event('resource', $1, 'created')", fmt.Sprint("resource", i))
		b.exec(t, "SELECT casq.tick(force => true)")
		b.row(t, "a", fmt.Sprint("old", i), 30, int64(i), "")
	}
	b.exec(t, "UPDATE casq.ticks SET taken_at = taken_at - interval '30 days'")
	ended := make(chan error)
	for range 5 {
		go func() { ended <- Round(t.Context(), b.cfg) }()
	}
	for range 5 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	b.round(t) // somebody was busy with the log
	b.want(t, "left", left, "")
	b.want(t, "log", "SELECT (SELECT count(*) FROM casq.events) || ' ' || (SELECT count(*) FROM casq.ticks)", "0 1")
}

// Recounts that ended long ago go with all their certificates, in batches; one
// that is under way stays, however old it is.
func TestRecountsGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, finished_at)
		SELECT 'artifact', true, false, 1, 1, CASE WHEN n < 5 THEN clock_timestamp() - n * interval '10 hours' END
		FROM generate_series(1, 5) AS n`)
	b.exec(t, `INSERT INTO casq.refreshes (scan, kind, scope_id, shard)
		SELECT s.id, 'artifact', n::text, 0 FROM casq.scans AS s, generate_series(1, 5) AS n`)
	b.cfg.Recounts = 25 * time.Hour
	b.round(t)
	b.want(t, "scans", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM casq.scans", "1 2 5")
	b.want(t, "certificates", "SELECT count(*)::text FROM casq.refreshes", "15")
}

// What was right, and nobody has asked for by name, goes soon; not while a recount
// in parts is under way, which looks for what its parts have counted.
func TestCertificatesOfWhatWasRightGoSoon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, in_parts, compare, floor_timeline, floor_tick, finished_at)
		SELECT 'artifact', all_scopes, in_parts, false, 1, 1, clock_timestamp() - minutes * interval '1 minute'
		FROM (VALUES (true, false, 70), (true, false, 50), (false, false, 70), (true, true, NULL), (true, true, 70)) AS s (all_scopes, in_parts, minutes)`)
	b.exec(t, `INSERT INTO casq.scans (all_scopes, kind, compare, part, part_of, floor_timeline, floor_tick, finished_at)
		SELECT false, 'artifact', false, 'table', w.id, 1, 1, clock_timestamp() - interval '70 minutes'
		FROM casq.scans AS w WHERE w.in_parts ORDER BY w.id`)
	b.exec(t, `INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, finished_at, old_size, new_size, old_items, new_items)
		SELECT s.id, 'artifact', scope, CASE WHEN scope IS NOT NULL THEN 0 END, 'done', now(), 1, size, 1, 1
		FROM casq.scans AS s, (VALUES ('right', 1), ('wrong', 2), (NULL, NULL)) AS r (scope, size)`)
	b.round(t)
	b.want(t, "what is left of 1 to 7", "SELECT string_agg(scan || coalesce(scope_id, ''), ' ' ORDER BY scan, scope_id) FROM casq.refreshes",
		"1wrong 1 2right 2wrong 2 3right 3wrong 3 4right 4wrong 4 5wrong 5 6right 6wrong 6 7wrong 7")
}

// Parts of a recount that is under way stay, and what they have counted, however
// long ago they ended: the rest looks for all of them.
func TestPartsOfARecountThatIsUnderWayStay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.scans (all_scopes, kind, in_parts, compare, floor_timeline, floor_tick, finished_at)
		VALUES (true, 'artifact', true, false, 1, 1, NULL), (true, 'artifact', true, false, 1, 1, clock_timestamp() - interval '50 hours')`)
	b.exec(t, `INSERT INTO casq.scans (all_scopes, kind, compare, part, part_of, floor_timeline, floor_tick, finished_at)
		SELECT false, 'artifact', false, 'table', w.id, 1, 1, clock_timestamp() - interval '60 hours' FROM casq.scans AS w ORDER BY w.id`)
	b.exec(t, `INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, finished_at, old_size, new_size, old_items, new_items)
		SELECT s.id, 'artifact', 'wrong', 0, 'done', now(), 1, 2, 1, 1 FROM casq.scans AS s`)
	b.cfg.Recounts = 25 * time.Hour
	b.round(t)
	b.want(t, "scans of 1 to 4", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM casq.scans", "1 3")
	b.want(t, "certificates", "SELECT string_agg(scan::text, ' ' ORDER BY scan) FROM casq.refreshes", "1 3")
}

// Who asked for what is kept for a time of its own.
func TestOldRequestsGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.audit (id, actor, via, origin, action, asked_at)
		SELECT gen_random_uuid(), 'eve', 'cli', 'host', n::text, clock_timestamp() - n * interval '10 hours' FROM generate_series(1, 5) AS n`)
	b.cfg.Audit = 25 * time.Hour
	b.round(t)
	b.want(t, "requests", "SELECT string_agg(action, ' ' ORDER BY action) FROM casq.audit", "1 2")
}
