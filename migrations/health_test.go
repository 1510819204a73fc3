package migrations_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// wellSQL makes a site that is well: it copies a kind, from a log of its own, and has a
// worker with all roles.
const wellSQL = `
	CREATE TABLE public.files (path text PRIMARY KEY, project int);
	SELECT casq.track('public.files', kind => 'file', transfer => 'file', key_column => 'path', scope_column => 'project');
	UPDATE casq.counter_kinds SET complete = true;
	DELETE FROM casq.refreshes;
	DELETE FROM casq.scans`

const workerSQL = `
	INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce, backend_pid)
	SELECT 'registry', l.system_identifier, l.timeline, l.id, t.id, t.nonce, pg_backend_pid()
	FROM casq.ticks AS t JOIN casq.timelines AS l USING (timeline) ORDER BY t.id DESC LIMIT 1;
	INSERT INTO casq.workers (id, host, pid, version, schema_version, started_at, queues, roles)
	SELECT gen_random_uuid(), 'here', 4711, '1', v.version, now() - interval '1 minute', '{file}',
	       (SELECT jsonb_object_agg(r, '{"ready": true, "seconds": 60}'::jsonb) FROM unnest('{ticker,counters,registry,sync}'::text[]) AS r)
	FROM casq.migration_version AS v`

func well(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := testdb.New(t).Pool(t)
	run(t, pool, wellSQL)
	run(t, pool, "SELECT casq.tick(true)")
	run(t, pool, workerSQL)
	return pool
}

func run(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	for statement := range strings.SplitSeq(sql, ";\n") {
		_, err := pool.Exec(t.Context(), statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// problems are those that there are, each as a sentence; ok without.
func problems(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT CASE WHEN ok THEN 'ok'
		ELSE format('%s: %s%s (%s)', severity, what, ', since ' || since, command) END FROM casq.health()`)
	must(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return found
}

const (
	// elsewhere has the cursor follow another log, of which the worker says the rest.
	elsewhere = `UPDATE casq.cursors SET nonce = gen_random_uuid(), caught_up_to = now();
		UPDATE casq.workers SET source_timeline = 1, source_tick = 7, `
	// row is one resource that was asked for so long ago.
	row = `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, queued_at)
		VALUES ('file', 'a', 1, 1, 1, '{}', now() - interval '%s')`
	job = `INSERT INTO river.river_job (state, queue, priority, kind, args, max_attempts, scheduled_at)
		SELECT 'available', '%s', 1, 'casq_sync', '{"kind": "file", "resource_id": "a", "version": 1}', 25, now() - interval '%s'`
	second = `INSERT INTO casq.workers (id, host, pid, version, schema_version, started_at, queues, roles)
		SELECT gen_random_uuid(), 'there', 4712, '1', schema_version, started_at, queues, roles FROM casq.workers;
		UPDATE casq.workers SET `
)

var (
	times   = regexp.MustCompile(`since (#|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*)`)
	numbers = regexp.MustCompile(`(recount|reconcile|database of) (@|\d+)`)
)

// generic is a sentence without what another run has otherwise.
func generic(sentence string) string {
	return numbers.ReplaceAllString(times.ReplaceAllString(sentence, "since #"), "$1 @")
}

// Each problem is told by its severity, in words, with the command to look at it. What
// time does is done by moving it; that real faults lead to such rows is tested with the
// workers.
const trackedView = `CREATE TABLE shown_rows (id bigint PRIMARY KEY);
	CREATE VIEW shown AS SELECT id, id::text AS key FROM shown_rows;
	SELECT casq.track_view('shown', kind => 'shown', transfer => 'none', id_column => 'id', key_column => 'key', sources => '{"shown_rows": "SELECT id FROM changed"}');
	UPDATE casq.workers SET roles = roles || '{"views": {"ready": true, "seconds": 19}}';
	`

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, sql, want string }{
		{"well", "SELECT 1", "ok"},
		{"well, far away", elsewhere + "source_moved = '5 s', source_answered = '1 s', source_behind = '0'", "ok"},
		{"one that comes", fmt.Sprintf(row, "4 minutes"), "ok"},

		{"no worker", "UPDATE casq.workers SET beat_at = now() - interval '31 s'", "critical: no worker is running, since # (worker run)"},
		{"no worker after a stop in order", "DELETE FROM casq.workers", "critical: no worker is running, since # (worker run)"},
		{"one that begins", "UPDATE casq.workers SET roles = '{}', waiting = 'home', started_at = now()", "ok"},
		{"no role", "UPDATE casq.workers SET roles = roles - 'sync'", "critical: no worker copies (enqueue status)"},
		{"a role that nobody can have", `UPDATE casq.workers SET roles = roles || '{"ticker": {"ready": false, "error": "it is a standby", "seconds": 19}}'`,
			"critical: no worker takes ticks: it is a standby, since # (enqueue status)"},
		{"one worker of two", second + `roles = roles || '{"sync": {"ready": false, "error": "refused", "seconds": 19}}' WHERE pid = 4712`,
			"warning: worker 4712 on there is not ready (sync): refused, since # (enqueue status)"},
		{"a role that begins", second + `roles = roles || '{"sync": {"ready": false, "seconds": 9}}' WHERE pid = 4712`, "ok"},
		{"all folders", `UPDATE casq.workers SET roles = roles || '{"folders": {"ready": false, "error": "another mark", "seconds": 19}}'`,
			"critical: worker 4711 on here is not ready (folders): another mark, since # (enqueue status)"},
		{"folders of one", second + `roles = roles || '{"folders": {"ready": false, "error": "another mark", "seconds": 19}}' WHERE pid = 4712`,
			"warning: worker 4712 on there is not ready (folders): another mark, since # (enqueue status)"},
		{"one that waits", second + "waiting = 'home', roles = '{}' WHERE pid = 4712", "warning: worker 4712 on there waits for home, since # (enqueue status)"},
		{"an older worker", second + "schema_version = 7 WHERE pid = 4712", "warning: worker 4712 on there is of schema 7, and the database of @, since # (worker --version)"},
		{"a newer worker", second + "schema_version = 99 WHERE pid = 4712", "warning: worker 4712 on there is of schema 99, and the database of @, since # (worker migrate up)"},

		{"no tick", "UPDATE casq.ticks SET taken_at = taken_at - interval '31 s'", "critical: no tick is taken here: nothing that is written is seen, since # (enqueue status)"},
		{"never a tick", "DELETE FROM casq.cursors; DELETE FROM casq.ticks; UPDATE casq.tracked SET tracked_at = now() - interval '31 s'",
			"critical: no tick was ever taken here: nothing that is written is seen, since # (worker run)"},
		{"events by hand, and no tick", "SELECT casq.untrack('public.files'); DELETE FROM casq.cursors; DELETE FROM casq.tracked; SELECT casq.append_event('file', 'a', 'created');\n" +
			"UPDATE casq.ticks SET taken_at = taken_at - interval '31 s'", "critical: no tick is taken here: nothing that is written is seen, since # (enqueue status)"},
		{"a site that follows, and no tick", "SELECT casq.untrack('public.files'); DELETE FROM casq.cursors; INSERT INTO casq.followers (name, tick, nonce) VALUES ('second', 1, gen_random_uuid());\n" +
			"UPDATE casq.ticks SET taken_at = taken_at - interval '31 s'", "critical: no tick is taken here: nothing that is written is seen, since # (enqueue status)"},
		{"source away", elsewhere + "source_moved = '40 s', source_answered = '31 s'", "critical: the source does not answer, since # (enqueue status)"},
		{"log stands", elsewhere + "source_moved = '31 s', source_answered = '1 s'",
			"critical: the source has no new tick: no worker takes ticks on its primary, or it is a standby that is not replicated to, since # (enqueue status)"},
		{"one that knows more", second + "source_timeline = 1, source_tick = 7, source_moved = '31 s', source_answered = '31 s' WHERE pid = 4711;\n" +
			"UPDATE casq.workers SET source_timeline = 1, source_tick = 7, source_moved = '1 s', source_answered = '1 s' WHERE pid = 4712", "ok"},
		{"cursor of nobody", "UPDATE casq.cursors SET backend_pid = NULL, last_error = 'disk full', moved_at = now() - interval '2 minutes', beat_at = now() - interval '2 minutes'",
			"critical: no process holds cursor registry: disk full, since # (SELECT * FROM casq.cursor_status)"},
		{"cursor that fails", "UPDATE casq.cursors SET nonce = gen_random_uuid(), last_error = 'disk full', caught_up_to = now() - interval '31 s'",
			"warning: cursor registry does not go on: disk full, since # (SELECT * FROM casq.cursor_status)"},
		{"dead letters", `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
			SELECT 'registry', 1, n, 1, 'file', 'a', 'updated', now(), 'too large', 4 FROM generate_series(1, 2) AS n`,
			"warning: 2 events of kind file could not be applied, since # (enqueue replay --all)"},
		{"many dead letters", `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
			SELECT 'registry', 1, n, 1, 'file', 'a', 'updated', now(), 'too large', 4 FROM generate_series(1, 10001) AS n`,
			"warning: at least 10000 events of kind file could not be applied, since # (enqueue replay --all)"},

		{"a view that is broken", trackedView + `UPDATE casq.views SET error = 'division by zero', failed_at = now()`,
			"critical: view public.shown of kind shown is not followed: division by zero, since # (SELECT * FROM casq.view_status)"},
		{"a row of a view", trackedView + `INSERT INTO casq.view_ids (kind, id, reason, failed_at) VALUES ('shown', '7', 'no key', now())`,
			"warning: 1 rows of view public.shown are not followed, such as that of id 7: no key, since # (SELECT * FROM casq.view_ids WHERE reason IS NOT NULL)"},
		{"a row that waits", trackedView + `INSERT INTO casq.view_ids (kind, id) VALUES ('shown', '7')`, "ok"},
		{"a view's source", trackedView + `UPDATE casq.sources SET problem = 'its triggers are gone', problem_at = now()`,
			"critical: its triggers are gone, since # (SELECT * FROM casq.view_status)"},
		{"a view, and nobody evaluates", trackedView + `UPDATE casq.workers SET roles = roles - 'views'`, "critical: no worker evaluates tracked views (enqueue status)"},

		{"a site that is gone", "INSERT INTO casq.followers (name, tick, nonce, reported_at) VALUES ('second', 1, gen_random_uuid(), now() - interval '11 minutes')",
			"warning: site second does not report any more, since # (SELECT casq.forget_follower('second'))"},
		{"a site that is far behind", "UPDATE casq.ticks SET taken_at = taken_at - interval '2 hours';\nSELECT casq.tick(true);\n" +
			"UPDATE casq.cursors AS c SET tick = t.id, nonce = t.nonce FROM casq.ticks AS t WHERE t.id = (SELECT max(id) FROM casq.ticks);\n" +
			"INSERT INTO casq.followers (name, tick, nonce) SELECT 'second', id, nonce FROM casq.ticks WHERE id = 0",
			"warning: site second holds the log back, since # (SELECT * FROM casq.followers)"},
		{"a cursor that nobody moves", "UPDATE casq.ticks SET taken_at = taken_at - interval '2 hours';\nSELECT casq.tick(true);\n" +
			"UPDATE casq.cursors AS c SET tick = t.id, nonce = t.nonce FROM casq.ticks AS t WHERE t.id = 0",
			"warning: cursor registry holds the log back, since # (SELECT * FROM casq.cursor_status)"},

		{"paused", "INSERT INTO river.river_queue (name, updated_at, paused_at) VALUES ('file', now(), now())", "ok"},
		{"paused with jobs", "INSERT INTO river.river_queue (name, updated_at, paused_at) VALUES ('file', now(), now()); " + fmt.Sprintf(job, "file", "1 hour"),
			"warning: queue file is paused, and has jobs, since # (enqueue queue resume file)"},
		{"nobody serves it", "INSERT INTO river.river_queue (name, updated_at) VALUES ('other', now()); " + fmt.Sprintf(job, "other", "31 s"),
			"critical: no worker serves queue other, and it has jobs, since # (enqueue queue list)"},
		{"jobs wait for long", fmt.Sprintf(job, "file", "6 minutes"), "warning: jobs of queue file wait for a worker that has time, since # (enqueue queue list)"},
		{"jobs wait", fmt.Sprintf(job, "file", "4 minutes"), "ok"},

		{"late", fmt.Sprintf(row, "6 minutes"), "warning: copies of kind file are late, most of it in the queue, since # (SELECT * FROM casq.replication_lag('file'))"},
		{"very late", fmt.Sprintf(row, "16 minutes"), "critical: copies of kind file are late, most of it in the queue, since # (SELECT * FROM casq.replication_lag('file'))"},
		{"the host is late", elsewhere + "source_moved = '1 s', source_answered = '1 s', source_behind = '6 minutes'",
			"warning: copies of kind file are late, most of it on the way to the host that is followed, since # (SELECT * FROM casq.replication_lag('file'))"},
		{"failed", fmt.Sprintf(row, "1 hour") + "; UPDATE casq.registry SET failed_version = version",
			"warning: 1 of 1 resources of kind file have failed, since # (SELECT * FROM casq.registry_failures)"},
		{"few failed", fmt.Sprintf(row, "1 hour") + `; UPDATE casq.registry AS r SET failed_version = r.version;
			INSERT INTO casq.registry (kind, resource_id, version, synced_version, timeline, event_id, tick, payload)
			SELECT 'file', n::text, n, n + 0, 1, 1, 1, '{}' FROM generate_series(1, 20) AS n`, "ok"},
		{"a reconcile that waits", "INSERT INTO casq.reconcile_runs (reason, waiting) VALUES ('asked', 'most of it would be removed')",
			"warning: reconcile @ waits: most of it would be removed, since # (SELECT * FROM casq.reconcile_report WHERE finished_at IS NULL)"},

		{"counters", "UPDATE casq.counter_kinds SET complete = false", "warning: counters of kind file are not exact, since # (enqueue refresh --kind file --all)"},
		{"counters that differ", "UPDATE casq.counter_kinds SET differs_since = now()",
			"critical: counters of kind file differ from their table, since # (enqueue refresh --kind file --all)"},
		{"counters are recounted", "UPDATE casq.counter_kinds SET complete = false; SELECT casq.ask_recount('file')", "ok"},
		{"a recount that does not begin", "SELECT casq.ask_recount('file'); UPDATE casq.scans SET requested_at = now() - interval '11 minutes'",
			"warning: recount @ of kind file has not begun, since # (enqueue status)"},
		{"a recount that is not swapped in", "SELECT casq.ask_recount('file'); UPDATE casq.scans SET started_at = now(), scanned_at = now() - interval '11 minutes'",
			"warning: recount @ of kind file has counted, and is not swapped in, since # (enqueue status)"},
		{"a recount that is begun again and again", "SELECT casq.ask_recount('file'); UPDATE casq.scans SET started_at = now(), tries = 6",
			"warning: recount @ of kind file was begun 6 times, since # (enqueue status)"},

		{"no runner's worker", "SELECT casq.create_runner('r')", "critical: no worker hands out builds (enqueue status)"},
		{"builds of no runner", `SELECT casq.create_runner('r', tags => '{linux}');
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}', tags => '{linux,gpu}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`,
			"warning: builds with the tags gpu, linux wait, and no runner that takes them was heard of within 5 minutes, since # (enqueue runner list)"},
		{"a build that has just come", `SELECT casq.create_runner('r');
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}')`, "ok"},
		{"builds of a paused runner", `SELECT casq.create_runner('r', paused => true);
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`,
			"warning: builds without tags wait, and no runner that takes them was heard of within 5 minutes, since # (enqueue runner list)"},
		{"builds of a silent runner", `SELECT casq.create_runner('r');
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() - interval '6 minutes' FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`,
			"warning: builds without tags wait, and no runner that takes them was heard of within 5 minutes, since # (enqueue runner list)"},
		{"builds of a project's runner", `SELECT casq.create_runner('r', projects => '{8}');
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`,
			"warning: builds without tags wait, and no runner that takes them was heard of within 5 minutes, since # (enqueue runner list)"},
		{"builds of its own project", `SELECT casq.create_runner('r', projects => '{7}');
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`, "ok"},
		{"builds of a tagged runner", `SELECT casq.create_runner('r', tags => '{linux}');
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`,
			"warning: builds without tags wait, and no runner that takes them was heard of within 5 minutes, since # (enqueue runner list)"},
		{"builds of a busy runner", `SELECT casq.create_runner('r', tags => '{linux,gpu}');
			INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at) SELECT id, 's', now() FROM casq.runners;
			UPDATE casq.workers SET roles = roles || '{"runner": {"ready": true, "seconds": 60}}';
			SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}', tags => '{linux,gpu}');
			UPDATE casq.builds SET pending_at = now() - interval '6 minutes'`, "ok"},
		{"a build that was handed out", `SELECT casq.add_build(casq.begin_pipeline(7), 'test', '{"steps": [{"name": "script", "script": ["x"]}]}');
			UPDATE casq.builds SET status = 'running', attempt = 1, token_hash = sha256('x'), assigned_at = now() - interval '2 minutes', start_by = now() + interval '1 minute'`,
			"warning: 1 builds were handed out and have not begun, since # (enqueue builds --status running)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pool := well(t)
			run(t, pool, test.sql)
			got := problems(t, pool)
			// Times that were moved may be taken for another problem, too.
			others := slices.DeleteFunc(slices.Clone(got), func(p string) bool { return generic(p) == generic(test.want) })
			if len(others) == len(got) || test.want == "ok" && len(others) > 0 {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

// A transaction of another database keeps nothing of this one from being vacuumed.
func TestOldestTransactionIsThisDatabases(t *testing.T) {
	t.Parallel()
	pool := well(t)
	run(t, pool, "DELETE FROM casq.ticks") // which know of all databases' writers
	oldest := func() (there bool) {
		t.Helper()
		must(t, pool.QueryRow(t.Context(), "SELECT casq.oldest_transaction() IS NOT NULL").Scan(&there))
		return there
	}
	for name, other := range map[string]*pgxpool.Pool{"this database": pool, "another one": testdb.New(t).Pool(t)} {
		tx, err := other.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), "SELECT 1")
		must(t, err)
		if got, want := oldest(), other == pool; got != want {
			t.Errorf("a transaction of %s is told: %v, want %v", name, got, want)
		}
		must(t, tx.Rollback(t.Context()))
	}
}

// The sentence is the most severe problem, and how many more there are.
func TestHealthSentence(t *testing.T) {
	t.Parallel()
	pool := well(t)
	want := func(want string) {
		t.Helper()
		var got string
		must(t, pool.QueryRow(t.Context(), "SELECT casq.health_sentence()").Scan(&got))
		if generic(got) != generic(want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	want("ok")
	run(t, pool, "INSERT INTO river.river_queue (name, updated_at, paused_at) VALUES ('file', now(), now())")
	want("ok") // a notice
	run(t, pool, "UPDATE casq.counter_kinds SET complete = false")
	want("warning: counters of kind file are not exact, since # (enqueue refresh --kind file --all)")
	run(t, pool, "UPDATE casq.workers SET roles = roles - 'sync'")
	want("critical: no worker copies (enqueue status); and 1 more")
}

// What would be lost here, with the source, and elsewhere, with this log.
func TestWhatIsAtRisk(t *testing.T) {
	t.Parallel()
	pool := well(t)
	want := func(want, sql string) {
		t.Helper()
		var got string
		must(t, pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(t::text, ' '), 'none') FROM ("+sql+") AS t").Scan(&got))
		if got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
	}
	const atRisk = "SELECT * FROM casq.at_risk"
	want("(file,0,0)", atRisk)
	run(t, pool, `INSERT INTO casq.registry (kind, resource_id, version, synced_version, failed_version, deleted_at, timeline, event_id, tick, payload)
		SELECT 'file', r.id, 2, nullif(r.synced, 0), nullif(r.failed, 0), CASE WHEN r.deleted THEN now() END, 1, 1, 1, r.payload::jsonb
		FROM (VALUES ('pending', 0, 0, false, '{"size": 10}'), ('changed', 1, 0, false, '{"size": 200}'),
			('failed', 0, 2, false, '{"size": 3000}'), ('synced', 2, 0, false, '{"size": 5}'), ('removing', 1, 0, true, '{"size": 5}'),
			('removed', 2, 0, true, '{"size": 5}'), ('of no size', 0, 0, false, '{}'), ('of another', 0, 0, false, '{"size": "7"}'),
			('below', 0, 0, false, '{"size": -7}')) AS r (id, synced, failed, deleted, payload)`)
	want("(file,6,3210)", atRisk)
	run(t, pool, "UPDATE casq.registry SET synced_version = version WHERE resource_id IN ('pending', 'below')")
	want("(file,4,3200)", atRisk)
	run(t, pool, `UPDATE casq.registry SET payload = '{"size": 201}' WHERE resource_id = 'changed'`)
	want("(file,4,3201)", atRisk)
	run(t, pool, "DELETE FROM casq.registry WHERE resource_id = 'failed'")
	want("(file,3,201)", atRisk)

	run(t, pool, "SELECT casq.report_follower('second', t.id, t.nonce, 3, 700) FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1")
	run(t, pool, "SELECT casq.report_follower('other', 1, gen_random_uuid())")
	const followers = "SELECT name, events, event_resources, event_bytes, more, lag_seconds > 0 AS late, resources, bytes FROM casq.follower_status ORDER BY name"
	want("(other,,,,,,,) (second,0,0,0,f,f,3,700)", followers)
	run(t, pool, "SELECT casq.append_event('file', x.id, 'updated', size_delta => x.size) FROM (VALUES ('a', 10), ('a', 5), ('b', -3)) AS x (id, size)")
	want("(other,,,,,,,) (second,3,2,15,f,t,3,700)", followers)
	run(t, pool, "SELECT count(casq.append_event('file', n::text, 'updated')) FROM generate_series(1, 10000) AS n")
	want("(t)", "SELECT more FROM casq.follower_status WHERE name = 'second'")
}
