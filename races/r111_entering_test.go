package races

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestR111Entering: a scope enters what a site has selected, while a create in
// that scope is on its way. The batch that read its event went by the selection of
// before, and left it out; the host that the run looks at is late and does not
// show it yet. Or a run that found it outside, under the selection of before, is
// about to remove it. Then nobody would tell of it again: it is missing for ever.
func TestR111Entering(t *testing.T) {
	t.Parallel()
	t.Run("twin/the run looks at any host", func(t *testing.T) {
		t.Parallel()
		pool := database(t, naiveSelection, `INSERT INTO selection VALUES (8)`)
		late, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			t.Fatal(err)
		}
		execute(t, late, `SELECT FROM resources`)
		execute(t, pool, `INSERT INTO resources VALUES ('young', 7)`)
		// Its event.
		execute(t, pool, `INSERT INTO here SELECT 'young', scope FROM selection WHERE scope = 7`)
		execute(t, pool, `INSERT INTO selection VALUES (7)`)
		execute(t, late, `INSERT INTO here SELECT t.key, t.scope FROM resources AS t JOIN selection USING (scope)`)
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, pool, `SELECT key FROM here`); got != "" {
			t.Errorf("here is %q; want nothing, for that is what goes wrong", got)
		}
	})
	t.Run("twin/a removal is applied as it was read", func(t *testing.T) {
		t.Parallel()
		pool := database(t, naiveSelection, `INSERT INTO selection VALUES (8); INSERT INTO resources VALUES ('old7', 7); INSERT INTO here VALUES ('old7', 7)`)
		page := lines(t, pool, `SELECT key FROM here WHERE scope NOT IN (SELECT scope FROM selection)`)
		execute(t, pool, `INSERT INTO selection VALUES (7);
			INSERT INTO here SELECT key, scope FROM resources JOIN selection USING (scope) WHERE key NOT IN (SELECT key FROM here)`)
		execute(t, pool, `DELETE FROM here WHERE key = '`+page+`'`)
		if got := lines(t, pool, `SELECT key FROM here`); got != "" {
			t.Errorf("here is %q; want nothing, for that is what goes wrong", got)
		}
	})
	t.Run("ours/the host is late", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "8")
		host := s.newLateHost(t)
		execute(t, s.source, `INSERT INTO resources VALUES ('young', 7), ('young8', 8)`)
		s.read(t)
		s.selects(t, "7", "8")
		s.entersOnce(t, host)
	})
	t.Run("ours/the change waits for the batch", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "8")
		host := s.newLateHost(t)
		applied := s.batch.stopAt("batch:applied")
		execute(t, s.source, `INSERT INTO resources VALUES ('young', 7), ('young8', 8)`)
		s.tick(t)
		applied.wait(t)
		changed := s.selecting(t, "7", "8")
		s.waiting(t, "1")
		applied.release()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.entersOnce(t, host)
	})
	t.Run("ours/the batch waits for the change", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "8")
		host := s.newLateHost(t)
		goOn := s.stopSelecting(t)
		changed := s.selecting(t, "7", "8")
		s.waiting(t, "1")
		execute(t, s.source, `INSERT INTO resources VALUES ('young', 7), ('young8', 8)`)
		s.tick(t)
		s.waiting(t, "2")
		goOn()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.reconciler(t, host, newPoints())
		s.until(t, "the log's create", `SELECT resource_id FROM casq.registry WHERE resource_id = 'young'`, "young")
		host.caught.Store(true)
		s.until(t, "the log's create, and the run's", reconcileRows, "old7 pending\nold8 synced\nyoung pending\nyoung8 pending")
	})
	t.Run("ours/the change waits for the removal", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		removal := newPoints()
		applied := removal.stopAt("reconcile:applied")
		s.selects(t, "8")
		s.reconciler(t, s.source, removal)
		applied.wait(t)
		changed := s.selecting(t, "7", "8")
		s.waiting(t, "1")
		applied.release()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.applied(t)
		s.wantRows(t, "old7 pending\nold8 synced")
	})
	t.Run("ours/a removal of before", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		frozen := newPoints()
		read := frozen.stopAt("missing:read")
		s.selects(t, "8")
		s.reconciler(t, &lateHost{DB: s.source, asked: func(sql string) {
			if strings.Contains(sql, "casq.resources_missing") {
				frozen.hook("missing:read")
			}
		}}, frozen)
		read.wait(t)
		s.selects(t, "7", "8")
		s.reconciler(t, s.source, newPoints()) // another worker
		s.until(t, "the run that applies it", `SELECT (finished_at IS NOT NULL)::text FROM casq.reconcile_runs WHERE id = (SELECT max(id) FROM casq.reconcile_runs)`, "true")
		read.release()
		s.applied(t)
		s.wantRows(t, "old7 synced\nold8 synced")
	})
}

// entersOnce has the change applied by looking at the host, which is late at
// first.
func (s *selectiveSite) entersOnce(t *testing.T, host *lateHost) {
	t.Helper()
	s.reconciler(t, host, newPoints())
	s.until(t, "the wait for a host", `SELECT DISTINCT (finished_at IS NOT NULL OR coalesce(waiting, '') LIKE '%host of the source is behind%')::text FROM casq.reconcile_runs`, "true")
	s.wantRows(t, "old8 synced\nyoung8 pending")
	host.caught.Store(true)
	s.applied(t)
	s.wantRows(t, "old7 pending\nold8 synced\nyoung pending\nyoung8 pending")
}
