package admin

import (
	"strings"
	"testing"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// grow adds n of everything that grows: resources, events, jobs of each state, dead letters,
// ticks, builds, recounts, comparisons, requests.
func (b *testBundle) grow(t *testing.T, n int) {
	t.Helper()
	for _, sql := range []string{
		"INSERT INTO public.files SELECT 'f' || $1 || '.' || n, 7, n % 100 FROM generate_series(1, $1::integer) AS n",
		`INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, failed_version, failure_reason)
			SELECT 'artifact', 'f' || $1 || '.' || n, 1, n, 1, '{}', v, CASE WHEN n % 2 = 0 THEN v END, CASE WHEN n % 2 = 0 THEN 'disk full' END
			FROM (SELECT n, nextval('casq.registry_version') AS v FROM generate_series(1, $1::integer) AS n) AS r`,
		`INSERT INTO river.river_job (args, kind, max_attempts, queue, state, finalized_at)
			SELECT jsonb_build_object('kind', 'artifact', 'resource_id', 'f' || $1 || '.' || n), 'casq_sync', 5, 'artifact', s.state, CASE WHEN s.state = 'completed' THEN now() END
			FROM generate_series(1, $1::integer) AS n, (VALUES ('available'::river.river_job_state), ('running'), ('retryable'), ('completed')) AS s (state)`,
		`INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries, replayed_at)
			SELECT 'registry', 1, $1 * 10 + n, 1, 'artifact', 'f' || n, 'created', now(), 'no', 3, CASE WHEN n % 2 = 0 THEN now() END
			FROM generate_series(1, $1::integer) AS n`,
		`INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, finished_at)
			SELECT 'artifact', true, false, 1, 1, now() FROM generate_series(1, $1::integer)`,
		"INSERT INTO casq.reconcile_runs (reason, finished_at) SELECT 'asked', now() FROM generate_series(1, $1::integer)",
		`INSERT INTO casq.audit (id, actor, via, origin, action) SELECT gen_random_uuid(), 'eve', 'cli', 'host', 'x' FROM generate_series(1, $1::integer)`,
		`SELECT casq.add_build(casq.begin_pipeline(project => 7), 'x', job => '{"steps": [{"name": "script", "script": ["x"]}]}') FROM generate_series(1, $1::integer / 10)`,
		"UPDATE casq.builds SET status = 'canceled', finished_at = now() WHERE id % 2 = $1 % 2 AND status = 'pending'",
	} {
		b.exec(t, sql, n)
	}
	for range n / 100 {
		b.exec(t, "SELECT casq.tick(true)")
	}
	for table := range strings.FieldsSeq("casq.registry casq.registry_changes casq.events casq.ticks casq.event_failures river.river_job casq.scans" +
		" casq.reconcile_runs casq.audit casq.builds") {
		b.exec(t, "VACUUM ANALYZE "+table)
	}
}

// Five times as many rows cost no part of the page more, but for dead letters up to as many
// as are grouped.
func TestThePageReadsNoMoreOfLargerTables(t *testing.T) {
	t.Parallel()
	long.Test(t)
	b := setup(t)
	b.exec(t, "CREATE TABLE public.files (path text PRIMARY KEY, size bigint NOT NULL, project_id bigint)")
	b.exec(t, "SELECT casq.track('public.files', kind => 'file', transfer => 'file', key_column => 'path', size_column => 'size', scope_column => 'project_id')")
	b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) VALUES ('artifact', now(), now())")
	session, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Release)
	if _, err := session.Exec(t.Context(), strings.ReplaceAll(database.ByIndex, "true", "false")); err != nil {
		t.Fatal(err)
	}
	capped, key := []any{mostCounted}, []any{"artifact", "f2000.7"}
	parts := map[string]struct {
		sql  string
		args []any
	}{
		"health": {sampleSQL.Health, nil}, "lags": {sampleSQL.Lags, nil}, "kinds": {sampleSQL.Kinds, nil}, "failures": {sampleSQL.Failures, nil},
		"tick": {sampleSQL.Tick, nil}, "workers": {sampleSQL.Workers, nil}, "followers": {sampleSQL.Followers, nil}, "queues": {sampleSQL.Queues, capped},
		"counters": {sampleSQL.Counters, nil}, "recounts": {sampleSQL.Recounts, nil}, "reconciles": {sampleSQL.Reconciles, nil},
		"builds": {sampleSQL.Builds, capped}, "dead letters": {sampleSQL.DeadLetters, []any{mostLetters}}, "requests": {sampleSQL.Requests, nil},
		"resource": {sampleSQL.Resource, key}, "history": {sampleSQL.History, key}, "why": {sampleSQL.Why, key}, "near": {sampleSQL.Near, key},
		"touched": {sampleSQL.Touched, []any{"artifact", []string{"synced"}, nil}},
	}
	cost := func() map[string]int {
		pages := make(map[string]int)
		for name, part := range parts {
			pages[name] = testdb.Buffers(t, session, part.sql, part.args...)
		}
		return pages
	}
	b.grow(t, 2000)
	small := cost()
	b.grow(t, 8000)
	large := cost()
	for name := range parts {
		t.Logf("%s: %d pages, then %d", name, small[name], large[name])
		if large[name] > small[name]*3/2+mostLetters {
			t.Errorf("%s reads %d pages of five times as many rows, and %d before", name, large[name], small[name])
		}
	}
}
