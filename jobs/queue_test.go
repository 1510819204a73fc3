package jobs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// testBundle is a home database with River's tables and two kinds.
type testBundle struct {
	pool  *pgxpool.Pool
	queue *Queue
	log   *slog.Logger
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	pool, err := database.Open(t.Context(), testdb.New(t).URL, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	b := &testBundle{pool: pool, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if b.queue, err = NewQueue(pool, b.log); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "SELECT casq.define_kind('resource', 'file', prefix => ''), casq.define_kind('fact', 'none', queue => 'facts')")
	return b
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *testBundle) insert(t *testing.T, bulk bool, jobs ...registry.Job) error {
	t.Helper()
	return pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return b.queue.Insert(t.Context(), tx, jobs, bulk)
	})
}

func job(kind, key string, version int64, deleted bool) registry.Job {
	return registry.Job{Token: registry.Token{Kind: kind, ResourceID: key, Version: version}, Deleted: deleted}
}

// riverJob is a row of River's table.
type riverJob struct {
	ID    int64
	Kind  string
	Queue string
	State string
	Args  SyncArgs
}

func (b *testBundle) riverJobs(t *testing.T) []riverJob {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), "SELECT id, kind, queue, state::text, args FROM river.river_job ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[riverJob])
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestInsert(t *testing.T) {
	t.Parallel()
	for name, bulk := range map[string]bool{"bulk": true, "rows": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			err := b.insert(t, bulk, job("resource", "a", 1, false), job("fact", "b", 2, true), job("resource", "a", 1, false))
			if err != nil {
				t.Fatal(err)
			}
			want := []riverJob{
				{Kind: "casq_sync", Queue: "resource", State: "available", Args: SyncArgs{"resource", "a", 1}},
				{Kind: "casq_remove", Queue: "facts", State: "available", Args: SyncArgs{"fact", "b", 2}},
				{Kind: "casq_sync", Queue: "resource", State: "available", Args: SyncArgs{"resource", "a", 1}},
			}
			got := b.riverJobs(t)
			for i := range got {
				got[i].ID = 0
			}
			if !slices.Equal(got, want) { // never unique: the same again is a job again
				t.Errorf("got %v, want %v", got, want)
			}
			if err := b.insert(t, bulk, job("other", "a", 1, false)); !errors.Is(err, eventlog.ErrUnknownKind) {
				t.Errorf("unknown kind: %v", err)
			}
			b.exec(t, "SELECT casq.define_kind('other', 'none')")
			if err := b.insert(t, bulk, job("other", "a", 1, false)); err != nil {
				t.Errorf("a kind that became known: %v", err)
			}
		})
	}
}

// run makes River believe that a job runs in a process, for which it was
// fetched after others had tried.
func (b *testBundle) run(t *testing.T, id int64, processes ...string) {
	t.Helper()
	b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_by = $2, attempted_at = now() WHERE id = $1", id, processes)
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live, dead, gone := uuid.NewString(), uuid.NewString(), uuid.NewString()
	b.exec(t, "INSERT INTO casq.processes (id, host, pid, dead_at) VALUES ($1, 'h', 1, NULL), ($2, 'h', 2, now())", live, dead)
	var want []registry.Token
	var ids []int64
	for i, processes := range [][]string{{live}, {dead}, {gone}, {dead, live}, {live, dead}, nil, {live, gone}} {
		j := job("resource", strings.Join(processes, " "), int64(i+1), i%2 == 0)
		if err := b.insert(t, false, j); err != nil {
			t.Fatal(err)
		}
		jobs := b.riverJobs(t)
		id := jobs[len(jobs)-1].ID
		if processes == nil {
			continue
		}
		b.run(t, id, processes...)
		if processes[len(processes)-1] != live {
			want, ids = append(want, j.Token), append(ids, id)
		}
	}
	tokens, jobs, err := b.queue.Orphans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byVersion := func(a, b registry.Token) int { return int(a.Version - b.Version) }
	slices.SortFunc(tokens, byVersion)
	slices.Sort(jobs)
	if !slices.Equal(tokens, want) || !slices.Equal(jobs, ids) {
		t.Errorf("got %v of %v, want %v of %v", jobs, tokens, ids, want)
	}
	// One of them has come to its end meanwhile, one was deleted.
	b.exec(t, "UPDATE river.river_job SET state = 'completed', finalized_at = now() WHERE id = $1", jobs[0])
	b.exec(t, "DELETE FROM river.river_job WHERE id = $1", jobs[1])
	if err := b.queue.Abandon(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	if tokens, jobs, err := b.queue.Orphans(t.Context()); err != nil || len(tokens)+len(jobs) > 0 {
		t.Errorf("after they were written off: %v, %v, %v", tokens, jobs, err)
	}
	var running, cancelled int
	err = b.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'cancelled')
		FROM river.river_job WHERE id = ANY ($1)`, jobs).Scan(&running, &cancelled)
	if err != nil || running != 0 || cancelled != len(jobs)-2 {
		t.Errorf("%d of %d are seen running, %d were ended, %v", running, len(jobs), cancelled, err)
	}
}

// A verification that a dead process had is done by another job at once, and is not
// seen running until its time is over.
func TestVerificationsOfTheDeadAreHandedOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tokens := []registry.Token{{Kind: "resource", ResourceID: "x", Version: 1}, {Kind: "resource", ResourceID: "y", Version: 2}}
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return errors.Join(b.queue.insertChecks(t.Context(), tx, tokens[:1], false, time.Time{}), b.queue.insertChecks(t.Context(), tx, tokens[1:], true, time.Time{}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range b.riverJobs(t) {
		b.run(t, j.ID, "00000000-0000-0000-0000-000000000001")
	}
	if _, jobs, err := b.queue.Orphans(t.Context()); err != nil || len(jobs) > 0 {
		t.Fatal(jobs, err)
	}
	var got string
	err = b.pool.QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', args ->> 'resource_id', args ->> 'contested', state), ', ' ORDER BY state, args ->> 'resource_id')
		FROM river.river_job WHERE kind = 'casq_verify'`).Scan(&got)
	if want := "x available, y true available, x cancelled, y true cancelled"; err != nil || got != want {
		t.Errorf("got %q, want %q, %v", got, want, err)
	}
}

// Every process searches for orphans with every beat, beside a history of jobs
// that nobody has deleted yet.
func TestOrphansAreFoundByState(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, "ALTER TABLE river.river_job SET (autovacuum_enabled = false)")
	b.exec(t, `INSERT INTO river.river_job (state, kind, queue, max_attempts, attempted_by, finalized_at, args)
		SELECT s::text::river.river_job_state, 'casq_sync', 'resource', 25, ARRAY[gen_random_uuid()::text], CASE WHEN s = 'completed' THEN now() END, '{}'
		FROM generate_series(1, 60000) AS n
		CROSS JOIN LATERAL (SELECT CASE WHEN n % 3 = 0 THEN 'available' WHEN n % 1000 = 1 THEN 'running' ELSE 'completed' END) AS s (s)`)
	for _, known := range []string{"not analyzed", "analyzed"} {
		if known == "analyzed" {
			b.exec(t, "ANALYZE river.river_job")
		}
		var text string
		if err := b.pool.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+queueSQL.Orphans, orphansPage).Scan(&text); err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(text)) || !strings.Contains(text, "river_job_prioritized_fetching_index") || strings.Contains(text, "river_job_pkey") || strings.Contains(text, "Seq Scan on river_job") {
			t.Errorf("%s: %s", known, text)
		}
	}
}

var _ registry.Queue = (*Queue)(nil)

// The jobs of a resource are found without reading those of others, and without
// River's GIN indexes, which are not there and not on River's list to be rebuilt.
func TestJobsOfAResourceAreFoundByTheirIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO river.river_job (state, kind, queue, max_attempts, args)
		SELECT 'available', 'casq_sync', 'resource', 25, jsonb_build_object('kind', 'resource', 'resource_id', n::text, 'version', n)
		FROM generate_series(1, 5000) AS n`)
	b.exec(t, "ANALYZE river.river_job")
	rows, err := b.pool.Query(t.Context(), "EXPLAIN "+queueSQL.Resource, "resource", "7", int64(7), int64(9))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || !strings.Contains(strings.Join(plan, "\n"), "casq_job_of_resource") {
		t.Errorf("%v\n%s", err, strings.Join(plan, "\n"))
	}
	rows, err = b.pool.Query(t.Context(), "SELECT indexname FROM pg_indexes WHERE schemaname = 'river' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ReindexerIndexNames() {
		if !slices.Contains(there, name) {
			t.Errorf("River would rebuild %s, of %v", name, there)
		}
	}
	if slices.Contains(there, "river_job_args_index") || slices.Contains(there, "river_job_metadata_index") {
		t.Errorf("a GIN index is there: %v", there)
	}
}
