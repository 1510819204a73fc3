package metrics

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// scrape returns what a scrape is answered with.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	body, err := io.ReadAll(recorder.Result().Body)
	if err != nil || recorder.Code != http.StatusOK {
		t.Fatalf("answered %d %s, %v", recorder.Code, body, err)
	}
	return string(body)
}

// fill gives each family that is counted a value.
func fill(m *Metrics) {
	for _, f := range counted {
		labels := make([]string, len(f.Labels))
		for i := range labels {
			labels[i] = "x"
		}
		if f.Type == histogram {
			m.Observe(f.Name, 1, labels...)
		} else {
			m.Add(f.Name, 1, labels...)
		}
	}
}

// Each statement runs on the migrated schema, with a worker's rights, and says nothing but
// what is in the catalog; each family that is told passes Prometheus' own linter.
func TestSamplesAreOfTheCatalog(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		"CREATE TABLE public.files (path text PRIMARY KEY, size bigint NOT NULL, project_id bigint)",
		"SELECT casq.track('public.files', kind => 'file', transfer => 'file', key_column => 'path', size_column => 'size', scope_column => 'project_id')",
		"INSERT INTO public.files SELECT 'f' || n, 7, 1 FROM generate_series(1, 100) AS n",
		"SELECT casq.tick()",
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	url := db.RoleURL(t)
	if _, err := pool.Exec(t.Context(), "SELECT casq.grant_to('"+testdb.RoleName(t, url)+"', 'worker')"); err != nil {
		t.Fatal(err)
	}
	m, worker := New(), testdb.Pool(t, url)
	for _, s := range list() {
		if err := m.take(t.Context(), worker, s); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	m.Pool("home", pool)
	fill(m)
	body := scrape(t, m)
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "casq_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{
		`casq_queue_jobs{queue="file",state="available"} 0`,
		`casq_log_events_total 100`,
		`casq_dead_letters{kind="other"} 0`,
		`casq_builds{state="handed_out"} 0`,
		`casq_metrics_queries_total{outcome="ok",sample="postgres"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("%s is not told", want)
		}
	}
}

// A worker may have a login of its own. Of the session that holds a cursor another role is
// told that it is there, and no more.
func TestCursorOfAnotherRoleIsNotSilent(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	holder, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = holder.Exec(t.Context(), `INSERT INTO casq.cursors
			(name, system_identifier, timeline, timeline_id, tick, nonce, moved_at, beat_at, backend_pid, backend_start)
		SELECT 'registry', 1, 1, gen_random_uuid(), 1, gen_random_uuid(), now() - interval '1 hour', now() - interval '1 hour', a.pid, a.backend_start
		FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
	url := db.RoleURL(t)
	if _, err := pool.Exec(t.Context(), "SELECT casq.grant_to('"+testdb.RoleName(t, url)+"', 'worker')"); err != nil {
		t.Fatal(err)
	}
	worker := testdb.Pool(t, url)
	age := func() float64 {
		t.Helper()
		values, err := query(t.Context(), worker, sample{"cursors", sampleSQL.Cursors, nil})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if v.family == "casq_cursor_beat_age_seconds" {
				return v.value
			}
		}
		t.Fatal("the cursor is not told of")
		return 0
	}
	if got := age(); got > 60 {
		t.Errorf("while it is held it is said to be silent for %v s", got)
	}
	if err := holder.Hijack().Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	await.True(t, 30*time.Second, "it is silent without its session", func() bool { return age() > 3000 })
}

// byIndex is a session with the settings that samples are taken with.
func byIndex(t *testing.T, pool *pgxpool.Pool) *pgxpool.Conn {
	t.Helper()
	session, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Release)
	if _, err := session.Exec(t.Context(), strings.ReplaceAll(database.ByIndex, "true", "false")); err != nil {
		t.Fatal(err)
	}
	return session
}

// However long the queue is, the sample reads so many of its jobs.
func TestQueueIsCountedUpToALimit(t *testing.T) {
	t.Parallel()
	long.Test(t)
	db := testdb.New(t)
	pool := db.Pool(t)
	insert := func(n int) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `INSERT INTO river.river_job (args, kind, max_attempts, queue, priority, scheduled_at, state)
			SELECT '{}', 'casq_sync', 5, 'q' || i % 2, 1 + i % 4, now() - interval '1 minute' - i * interval '1 ms', 'available'
			FROM generate_series(1, $1) AS i`, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE river.river_job"); err != nil {
			t.Fatal(err)
		}
	}
	insert(10_000)
	session := byIndex(t, pool)
	small := testdb.Buffers(t, session, sampleSQL.Queue, 500)
	insert(40_000)
	large := testdb.Buffers(t, session, sampleSQL.Queue, 500)
	if large > small*3/2 {
		t.Errorf("10,000 jobs took %d pages, 50,000 took %d", small, large)
	}
	values, err := query(t.Context(), pool, sample{"queue", sampleSQL.Queue, []any{500}})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	for _, v := range values {
		found[v.family+" "+strings.Join(v.labels, " ")] = v.value
	}
	if n := found["casq_queue_jobs q1 available"]; n != 500 {
		t.Errorf("%v jobs of q1 were counted", n)
	}
	if age := found["casq_queue_oldest_seconds q0 available"]; age < 100 || age > 200 {
		t.Errorf("the oldest job of q0 is %v s old", age)
	}
}

// A kind, or whatever else a label names, that comes by the thousand is cut off.
func TestSeriesAreLimited(t *testing.T) {
	t.Parallel()
	s := newSamples()
	var values []value
	for i := range mostSeries + 10 {
		values = append(values, value{"casq_recounts_open", []string{strings.Repeat("k", i+1)}, 1})
	}
	if err := s.put("counters", values); err != nil {
		t.Fatal(err)
	}
	if n := len(s.taken["counters"].metrics); n != mostSeries {
		t.Errorf("%d series are kept", n)
	}
}

// However long a round took, the next one comes before what is told is taken for too old: a
// database that was away for a moment is seen again soon.
func TestSlowRoundIsFollowedByABoundedPause(t *testing.T) {
	t.Parallel()
	slowest := time.Duration(len(list())) * queryTimeout
	for took, want := range map[time.Duration]time.Duration{
		0: sampleEvery, 200 * time.Millisecond: sampleEvery, time.Second: 50 * time.Second, slowest: mostRest,
	} {
		if got := rest(took); got != want {
			t.Errorf("after a round of %v there is a pause of %v, want %v", took, got, want)
		}
	}
	if longest := rest(slowest) + slowest; longest >= staleAfter {
		t.Errorf("a sample of a slow database is %v old before the next", longest)
	}
}

// When home is away, what was sampled stays, and is told to be old.
func TestSampleThatFailsKeepsTheLastValues(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	m := New()
	s := sample{"builds", sampleSQL.Builds, []any{mostCounted}}
	if err := m.take(t.Context(), pool, s); err != nil {
		t.Fatal(err)
	}
	s.sql = "SELECT 1/0"
	if err := m.take(t.Context(), pool, s); err == nil {
		t.Error("no error")
	}
	body := scrape(t, m)
	for _, want := range []string{`casq_builds{state="waiting"} 0`, `casq_metrics_sample_age_seconds{sample="builds"}`, `casq_metrics_queries_total{outcome="failed",sample="builds"} 1`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not told", want)
		}
	}
}

// Whoever reads the log of a worker whose home is away has more to read.
func TestHomeThatIsAwayIsSaidToBeOnce(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	m := New()
	m.SampleOnce(t.Context(), pool, nil, log)
	if said.Len() > 0 {
		t.Errorf("home answers, and said was %s", said.String())
	}
	away := testdb.Pool(t, db.URL)
	away.Close()
	for range 3 {
		m.SampleOnce(t.Context(), away, nil, log)
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 1 {
		t.Errorf("said was %d times:\n%s", n, said.String())
	}
	if n := strings.Count(scrape(t, m), `outcome="failed"`); n != 1 {
		t.Errorf("home was asked for %d samples", n)
	}
	m.SampleOnce(t.Context(), pool, nil, log)
	m.SampleOnce(t.Context(), away, nil, log)
	if n := strings.Count(said.String(), "level=WARN"); n != 2 {
		t.Errorf("it is away again, and said was %d times", n)
	}
}

// A table that is locked keeps one sample from being taken, and not those after it.
func TestLockedTableKeepsOnlyItsSampleAway(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE casq.reconcile_counts"); err != nil {
		t.Fatal(err)
	}
	m := New()
	m.SampleOnce(t.Context(), pool, nil, slog.New(slog.DiscardHandler))
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := scrape(t, m)
	for sample, taken := range map[string]bool{"counters": true, "reconcile": false, "postgres": true} {
		if told := strings.Contains(body, `casq_metrics_sample_age_seconds{sample="`+sample+`"}`); told != taken {
			t.Errorf("%s was taken: %t", sample, told)
		}
	}
}

// What a worker was told before it was cut off from home says nothing of now: alerts take
// the maximum of all workers, and it would hold them up.
func TestSampleThatIsTooOldIsAbsent(t *testing.T) {
	t.Parallel()
	m := New()
	for name, family := range map[string]string{"counters": "casq_counters_shards", "log": "casq_followers"} {
		if err := m.samples.put(name, []value{{family, nil, 7}}); err != nil {
			t.Fatal(err)
		}
	}
	old := m.samples.taken["counters"]
	old.at = old.at.Add(-staleAfter)
	m.samples.taken["counters"] = old
	body := scrape(t, m)
	if strings.Contains(body, "\ncasq_counters_shards ") {
		t.Error("what was sampled three minutes ago is told")
	}
	for _, want := range []string{"\ncasq_followers 7\n", `casq_metrics_sample_age_seconds{sample="counters"} 18`} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not told", want)
		}
	}
}

// grow adds n resources, events, jobs, dead letters and ticks.
func grow(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	for _, sql := range []string{
		"INSERT INTO public.files SELECT 'f' || $1 || '.' || n, 7, n % 100 FROM generate_series(1, $1::integer) AS n",
		`INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
			SELECT 'file', 'f' || $1 || '.' || n, 1, n, 1, '{}' FROM generate_series(1, $1::integer) AS n`,
		`INSERT INTO river.river_job (args, kind, max_attempts, queue, state)
			SELECT '{}', 'casq_sync', 5, 'file', 'available' FROM generate_series(1, $1::integer) AS n`,
		`INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
			SELECT 'registry', 1, $1 * 10 + n, 1, 'file', 'f', 'created', now(), 'no', 3 FROM generate_series(1, $1::integer) AS n`,
	} {
		if _, err := pool.Exec(t.Context(), sql, n); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for range n / 100 {
		if _, err := pool.Exec(t.Context(), "SELECT casq.tick(true)"); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"casq.registry", "casq.registry_changes", "casq.events", "casq.ticks", "casq.event_failures", "river.river_job"} {
		if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE "+table); err != nil {
			t.Fatal(err)
		}
	}
}

// Five times as many rows cost no sample more.
func TestSamplesReadNoMoreOfLargerTables(t *testing.T) {
	t.Parallel()
	long.Test(t)
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		"CREATE TABLE public.files (path text PRIMARY KEY, size bigint NOT NULL, project_id bigint)",
		"SELECT casq.track('public.files', kind => 'file', transfer => 'file', key_column => 'path', size_column => 'size', scope_column => 'project_id')",
		"SELECT casq.tick()",
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	session := byIndex(t, pool)
	cost := func() map[string]int {
		pages := make(map[string]int)
		for _, s := range list() {
			if len(s.args) > 0 {
				s.args = []any{500}
			}
			pages[s.name] = testdb.Buffers(t, session, s.sql, s.args...)
		}
		return pages
	}
	grow(t, pool, 5000)
	small := cost()
	grow(t, pool, 20_000)
	large := cost()
	for name := range small {
		t.Logf("%s: %d pages, then %d", name, small[name], large[name])
		if large[name] > small[name]*3/2+50 {
			t.Errorf("%s reads %d pages of five times as many rows, and %d before", name, large[name], small[name])
		}
	}
}
