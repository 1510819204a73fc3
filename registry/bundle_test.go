package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// kind is the one that most tests use.
const kind = "resource"

// testBundle is a home database with a queue that is a table.
type testBundle struct {
	pool       *pgxpool.Pool
	queue      *tableQueue
	transposer *Transposer
	logger     *slog.Logger
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	return setupAt(t, testdb.New(t).URL)
}

func setupAt(t *testing.T, url string) *testBundle {
	t.Helper()
	pool, err := database.Open(t.Context(), url, database.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	queue := &tableQueue{pool: pool}
	b := &testBundle{
		pool: pool, queue: queue, transposer: &Transposer{Jobs: queue},
		logger: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	b.exec(t, `CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, kind text, resource_id text,
		version bigint, deleted boolean, bulk boolean, urgency int, state text DEFAULT 'available', process uuid)`)
	b.exec(t, "SELECT casq.define_kind($1, 'none')", kind)
	return b
}

// testLog writes to the test's log. Locks are taken in key order everywhere: a
// deadlock (40P01), which would be tried again and forgotten, is a mistake.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p))
	if bytes.Contains(p, []byte("40P01")) {
		l.t.Error("deadlock")
	}
	return len(p), nil
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// tableQueue is a queue whose jobs are rows, so that what is rolled back is not
// there.
type tableQueue struct{ pool *pgxpool.Pool }

func (q *tableQueue) Insert(ctx context.Context, tx pgx.Tx, jobs []Job, bulk bool) error {
	for _, j := range jobs {
		_, err := tx.Exec(ctx, "INSERT INTO jobs (kind, resource_id, version, deleted, bulk, urgency) VALUES ($1, $2, $3, $4, $5, $6)",
			j.Kind, j.ResourceID, j.Version, j.Deleted, bulk, j.Urgency)
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *tableQueue) Orphans(ctx context.Context) (tokens []Token, jobs []int64, err error) {
	rows, err := q.pool.Query(ctx, `SELECT id, kind, resource_id, version FROM jobs
		WHERE state = 'running' AND process NOT IN (SELECT id FROM casq.processes WHERE dead_at IS NULL)
		ORDER BY id LIMIT 3`)
	if err != nil {
		return nil, nil, err
	}
	var id int64
	var token Token
	_, err = pgx.ForEachRow(rows, []any{&id, &token.Kind, &token.ResourceID, &token.Version}, func() error {
		tokens, jobs = append(tokens, token), append(jobs, id)
		return nil
	})
	return tokens, jobs, err
}

func (q *tableQueue) Abandon(ctx context.Context, jobs []int64) error {
	_, err := q.pool.Exec(ctx, "UPDATE jobs SET state = 'abandoned' WHERE id = ANY ($1)", jobs)
	return err
}

// takeJobs returns the jobs that were queued since it was last called, without
// their urgency.
func (b *testBundle) takeJobs(t *testing.T) []Job {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `WITH taken AS (DELETE FROM jobs WHERE state = 'available' RETURNING *)
		SELECT kind, resource_id, version, deleted FROM taken ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := CollectJobs(rows)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// wantJobs fails unless exactly these jobs were queued since it was last asked.
func (b *testBundle) wantJobs(t *testing.T, want ...Job) {
	t.Helper()
	if got := b.takeJobs(t); !slices.Equal(got, want) {
		t.Fatalf("got jobs %v, want %v", got, want)
	}
}

func jobFor(key string, version int64, deleted bool) Job {
	return Job{Token: Token{Kind: kind, ResourceID: key, Version: version}, Deleted: deleted}
}

// event is one of the test kind.
func event(id int64, op eventlog.Op, key, payload string) eventlog.Event {
	return eventlog.Event{ID: id, Kind: kind, ResourceID: key, Op: op, Payload: json.RawMessage(payload)}
}

// apply transposes a batch of timeline 1, at a tick that is the last event's id.
func (b *testBundle) apply(t *testing.T, events ...eventlog.Event) {
	t.Helper()
	b.applyBatch(t, eventlog.Batch{Events: events, Timeline: eventlog.Timeline{Ordinal: 1}, Tick: events[len(events)-1].ID})
}

func (b *testBundle) applyBatch(t *testing.T, batch eventlog.Batch) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return b.transposer.Apply(t.Context(), tx, batch)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// create makes a resource and returns the token of its job.
func (b *testBundle) create(t *testing.T, id int64, key string) Token {
	t.Helper()
	b.apply(t, event(id, eventlog.Created, key, "{}"))
	jobs := b.takeJobs(t)
	if len(jobs) != 1 {
		t.Fatalf("got %d jobs, want 1", len(jobs))
	}
	return jobs[0].Token
}

// update gives a resource a newer version and returns the token of its job.
func (b *testBundle) update(t *testing.T, id int64, key string) Token {
	t.Helper()
	b.apply(t, event(id, eventlog.Updated, key, "{}"))
	return b.takeJobs(t)[0].Token
}

// process returns a process that has started and does not beat by itself.
func (b *testBundle) process(t *testing.T, change ...func(*ProcessConfig)) *Process {
	t.Helper()
	cfg := ProcessConfig{Pool: b.pool, Queue: b.queue, Logger: b.logger}
	for _, f := range change {
		f(&cfg)
	}
	p := NewProcess(cfg)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(context.Canceled) })
	return p
}

// registry returns the registry of a process of its own.
func (b *testBundle) registry(t *testing.T, change ...func(*Config)) *Registry {
	t.Helper()
	cfg := Config{Pool: b.pool, Jobs: b.queue, Logger: b.logger}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg, b.process(t))
}

// kill marks a registry's process as dead, as another one would.
func (b *testBundle) kill(t *testing.T, r *Registry) {
	t.Helper()
	b.exec(t, "UPDATE casq.processes SET dead_at = clock_timestamp() WHERE id = $1", r.process.ID())
}

func claim(t *testing.T, r *Registry, token Token) *Claim {
	t.Helper()
	c, err := r.Claim(t.Context(), token, 7)
	if err != nil {
		t.Fatalf("claim %v: %v", token, err)
	}
	return c
}

// row is a row of the registry, as far as the tests look at it.
type row struct {
	Version, EventID, Tick int64
	Timeline               int32
	Deleted                bool
	Incarnation            int64
	Payload                string
	Synced, SyncedIn       *int64
	Checksum               *string
	Size                   *int64
	Claim, Process         *uuid.UUID
	Job                    *int64
	Asked                  bool
	Attempts               int
	Failed                 *int64
	LastError              *string
	RetryAt                *time.Time
	Status                 string
}

func (b *testBundle) row(t *testing.T, key string) row {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `SELECT r.version, event_id, tick, timeline, r.deleted_at IS NOT NULL, incarnation,
		payload::text, r.synced_version, synced_incarnation, checksum, size, claim, r.claim_process, claim_job, asked,
		r.attempts, failed_version, r.last_error, r.retry_at, status
		FROM casq.registry AS r JOIN casq.registry_status USING (kind, resource_id)
		WHERE r.kind = $1 AND r.resource_id = $2`, kind, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatalf("read row of %q: %v", key, err)
	}
	return r
}

func is[T comparable](p *T, want T) bool { return p != nil && *p == want }

// deadline is for what should take milliseconds.
const deadline = 20 * time.Second

// receive waits for a signal.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s did not happen in %s", what, deadline)
		panic("unreachable")
	}
}

// until polls for a condition.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	timer, poll := time.NewTimer(deadline), time.NewTicker(5*time.Millisecond)
	defer timer.Stop()
	defer poll.Stop()
	for !met() {
		select {
		case <-poll.C:
		case <-timer.C:
			t.Fatalf("%s did not happen in %s", what, deadline)
		}
	}
}
