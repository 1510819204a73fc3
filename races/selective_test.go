package races

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/testdb"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// selectiveSite is a site whose resources are in scopes: old7 and old8 in 7 and 8.
// What is selected of them is applied already.
type selectiveSite struct {
	*reconcileSite
	batch *points
}

func newSelectiveSite(t *testing.T, scopes ...string) *selectiveSite {
	t.Helper()
	s := &selectiveSite{newReconcileSite(t, testdb.New(t).URL, ""), newPoints()}
	execute(t, s.source, `SELECT casq.untrack('resources'); ALTER TABLE resources ADD COLUMN scope int;
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', scope_column => 'scope')`)
	execute(t, s.home, `INSERT INTO casq.selections (kind, scopes) VALUES ('resource', '{`+strings.Join(scopes, ",")+`}')`)
	s.follow(t, s.batch)
	t.Cleanup(s.batch.releaseAll)
	execute(t, s.source, `INSERT INTO resources VALUES ('old7', 7), ('old8', 8)`)
	s.read(t)
	execute(t, s.home, `UPDATE casq.registry SET synced_version = version`)
	return s
}

// read takes a tick that has events, and waits until the log is read up to it.
func (s *selectiveSite) read(t *testing.T) {
	t.Helper()
	s.tick(t)
	s.until(t, "the log's reading", `SELECT (c.tick = (SELECT max(id) FROM casq.ticks))::text FROM casq.cursors AS c`, "true")
}

// selects changes the selection, and returns when that has committed.
func (s *selectiveSite) selects(t *testing.T, scopes ...string) {
	t.Helper()
	if err := <-s.selecting(t, scopes...); err != nil {
		t.Fatal(err)
	}
}

func (s *selectiveSite) selecting(t *testing.T, scopes ...string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := registry.Select(t.Context(), s.home, s.source, registry.Selection{Kind: "resource", Scopes: scopes})
		done <- err
	}()
	return done
}

// stopSelecting stops the next change of the selection half-way, with its lock
// taken.
func (s *selectiveSite) stopSelecting(t *testing.T) (goOn func()) {
	t.Helper()
	execute(t, s.home, `INSERT INTO casq.registry_floors (kind, timeline, tick) VALUES ('resource', 0, 0) ON CONFLICT DO NOTHING`)
	tx, err := s.home.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	execute(t, tx, `SELECT FROM casq.registry_floors FOR UPDATE`)
	return func() {
		if err := tx.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// waiting waits until so many sessions wait for a lock.
func (s *selectiveSite) waiting(t *testing.T, sessions string) {
	t.Helper()
	s.until(t, "the wait", r09Waits, sessions)
}

func (s *selectiveSite) applied(t *testing.T) {
	t.Helper()
	s.until(t, "the runs' end", `SELECT DISTINCT (finished_at IS NOT NULL)::text FROM casq.reconcile_runs`, "true")
}

func (s *selectiveSite) wantRows(t *testing.T, want string) {
	t.Helper()
	if got := lines(t, s.home, reconcileRows); got != want {
		t.Errorf("rows %q, want %q", got, want)
	}
}

// lateHost is a host of the source that stands still until it has caught up.
type lateHost struct {
	eventlog.DB
	late   pgx.Tx
	caught atomic.Bool
	// asked is called after the answer of a statement; may be nil.
	asked func(sql string)
}

// newLateHost shows the source as it is now.
func (s *selectiveSite) newLateHost(t *testing.T) *lateHost {
	t.Helper()
	tx, err := s.source.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	execute(t, tx, `SET LOCAL idle_in_transaction_session_timeout = 0; SELECT FROM casq.ticks`)
	return &lateHost{DB: s.source, late: tx}
}

func (h *lateHost) host() eventlog.DB {
	if h.late == nil || h.caught.Load() {
		return h.DB
	}
	return h.late
}

func (h *lateHost) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return h.host().Query(ctx, sql, args...)
}

func (h *lateHost) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return answered{h.host().QueryRow(ctx, sql, args...), func() {
		if h.asked != nil {
			h.asked(sql)
		}
	}}
}

func (h *lateHost) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return h.host().SendBatch(ctx, batch)
}

// answered calls something once it is scanned.
type answered struct {
	pgx.Row
	then func()
}

func (a answered) Scan(into ...any) error {
	defer a.then()
	return a.Row.Scan(into...)
}

// naiveSelection is what the twins have: a selection, and what is here.
const naiveSelection = `CREATE TABLE selection (scope int); CREATE TABLE resources (key text, scope int); CREATE TABLE here (key text, scope int)`
