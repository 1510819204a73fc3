// Package registrytest gives tests a home with a registry, and a queue that is a
// table.
package registrytest

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/testdb"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Kind is the one that most tests use.
const Kind = "resource"

// Home is a home database with a queue that is a table.
type Home struct {
	Pool       *pgxpool.Pool
	Queue      *Queue
	Transposer *registry.Transposer
	Logger     *slog.Logger
}

// New returns a home in a database of its own.
func New(t *testing.T) *Home {
	t.Helper()
	return At(t, testdb.New(t).URL)
}

// At returns a home in a migrated database.
func At(t *testing.T, url string) *Home {
	t.Helper()
	pool, err := database.Open(t.Context(), url, database.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	queue := &Queue{Pool: pool}
	h := &Home{
		Pool: pool, Queue: queue, Transposer: &registry.Transposer{Jobs: queue},
		Logger: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	h.Exec(t, `CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, kind text, resource_id text,
		version bigint, deleted boolean, bulk boolean, urgency int, state text DEFAULT 'available', process uuid)`)
	h.Exec(t, "SELECT casq.define_kind($1, 'none')", Kind)
	wantCounts(t, pool)
	return h
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

// Exec runs a statement.
func (h *Home) Exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := h.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Create makes a resource and returns the token of its job.
func (h *Home) Create(t *testing.T, id int64, key string) registry.Token {
	t.Helper()
	h.Apply(t, Event(id, eventlog.Created, key, "{}"))
	jobs := h.TakeJobs(t)
	if len(jobs) != 1 {
		t.Fatalf("got %d jobs, want 1", len(jobs))
	}
	return jobs[0].Token
}

// Update gives a resource a newer version and returns the token of its job.
func (h *Home) Update(t *testing.T, id int64, key string) registry.Token {
	t.Helper()
	h.Apply(t, Event(id, eventlog.Updated, key, "{}"))
	return h.TakeJobs(t)[0].Token
}

// Process returns a process that has started and does not beat by itself.
func (h *Home) Process(t *testing.T, change ...func(*registry.ProcessConfig)) *registry.Process {
	t.Helper()
	cfg := registry.ProcessConfig{Pool: h.Pool, Queue: h.Queue, Logger: h.Logger}
	for _, f := range change {
		f(&cfg)
	}
	p := registry.NewProcess(cfg)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(context.Canceled) })
	return p
}

// Registry returns the registry of a process of its own.
func (h *Home) Registry(t *testing.T, change ...func(*registry.Config)) *registry.Registry {
	t.Helper()
	cfg := registry.Config{Pool: h.Pool, Jobs: h.Queue, Logger: h.Logger}
	for _, f := range change {
		f(&cfg)
	}
	return registry.New(cfg, h.Process(t))
}

// Kill marks a process as dead, as another one would.
func (h *Home) Kill(t *testing.T, p *registry.Process) {
	t.Helper()
	h.Exec(t, "UPDATE casq.processes SET dead_at = clock_timestamp() WHERE id = $1", p.ID())
}

// Claim claims for River's job 7.
func Claim(t *testing.T, r *registry.Registry, token registry.Token) *registry.Claim {
	t.Helper()
	c, err := r.Claim(t.Context(), token, 7)
	if err != nil {
		t.Fatalf("claim %v: %v", token, err)
	}
	return c
}

// Text is the one value of a query.
func (h *Home) Text(t *testing.T, sql string, args ...any) (s string) {
	t.Helper()
	if err := h.Pool.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// AdvisoryWaits counts sessions that wait for a change of a selection, or for who
// goes by it.
const AdvisoryWaits = `SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
