package races

import (
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/testing/await"
	"casq/jobs"
	"casq/registry"
	"casq/registry/reconcile"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// reconcileSite is a table of resources and a home that follows it. Nobody ticks
// by himself, and nobody works on the jobs.
type reconcileSite struct {
	source *pgxpool.Pool // the primary
	home   *pgxpool.Pool
	queue  *jobs.Queue
}

// newReconcileSite makes the table at sourceURL; a home without a URL is the
// same database.
func newReconcileSite(t *testing.T, sourceURL, homeURL string) *reconcileSite {
	t.Helper()
	open := func(url string) *pgxpool.Pool {
		pool, err := casqdb.Open(t.Context(), url, casqdb.Options{SearchPath: "public"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	s := &reconcileSite{source: open(sourceURL)}
	s.home = s.source
	if homeURL != "" {
		s.home = open(homeURL)
	}
	execute(t, s.source, `CREATE TABLE resources (key text PRIMARY KEY);
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key')`)
	s.tick(t)
	var err error
	if s.queue, err = jobs.NewQueue(s.home, raceLog(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *reconcileSite) tick(t *testing.T) {
	t.Helper()
	if _, err := eventlog.Tick(t.Context(), s.source, true); err != nil {
		t.Fatal(err)
	}
}

// follow runs the registry's cursor until the test ends.
func (s *reconcileSite) follow(t *testing.T, points *points) {
	t.Helper()
	follow(t, cursor.Config{
		Name: "registry", Source: s.source, Home: s.home, Consumer: &registry.Transposer{Jobs: s.queue}, Logger: raceLog(t),
		Interval: time.Millisecond, Wait: 20 * time.Millisecond, Hook: points.hook,
	})
}

// reconcile asks for a run, and runs a reconciler that looks at source until the
// test ends.
func (s *reconcileSite) reconcile(t *testing.T, source eventlog.DB, points *points) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.home, func(tx pgx.Tx) error {
		_, err := registry.Ask(t.Context(), tx, registry.Request{Reason: registry.Asked})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.reconciler(t, source, points)
}

// reconciler carries out what is asked for until the test ends.
func (s *reconcileSite) reconciler(t *testing.T, source eventlog.DB, points *points) {
	t.Helper()
	process := uuid.New()
	if _, err := s.home.Exec(t.Context(), `INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'race', 1)`, process); err != nil {
		t.Fatal(err)
	}
	r := reconcile.New(reconcile.Config{
		Home: s.home, Source: source, Jobs: s.queue, Process: process, Logger: raceLog(t),
		PollEvery: 10 * time.Millisecond, Patience: 100 * time.Millisecond, Hook: points.hook,
	})
	done := make(chan struct{})
	go func() { defer close(done); r.Run(t.Context()) }()
	t.Cleanup(func() { points.releaseAll(); <-done })
}

// until waits for an answer.
func (s *reconcileSite) until(t *testing.T, what, query, want string) {
	t.Helper()
	await.Nil(t, patience, what, func() error {
		if got := lines(t, s.home, query); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

const (
	reconcileRows     = `SELECT resource_id || ' ' || status FROM casq.registry_status ORDER BY resource_id`
	reconcileFinished = `SELECT DISTINCT state FROM casq.reconcile_report`
	reconcileWaiting  = `SELECT (waiting IS NOT NULL)::text FROM casq.reconcile_runs`
	reconcileCounts   = `SELECT format('created %s, changed %s, removed %s, late %s', created, changed, removed, late) FROM casq.reconcile_counts WHERE kind = 'resource'`
	// Jobs whose version is the row's.
	reconcileJobs = `SELECT r.resource_id || ' ' || count(*) FROM casq.registry AS r
		JOIN river.river_job AS j ON j.args ->> 'resource_id' = r.resource_id AND (j.args ->> 'version')::bigint = r.version
		GROUP BY r.resource_id ORDER BY r.resource_id`
)
