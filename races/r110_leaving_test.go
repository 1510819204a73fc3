package races

import (
	"testing"
)

// TestR110Leaving: a scope leaves what a site has selected, while a create in that
// scope is on its way: in a batch of the log, or in a page of a comparison, that
// went by the selection of before. The run that removes what has left looks at
// the rows, and does not see one that is not committed yet. Were it written then,
// nobody would look at it again: an orphan, on disk, for ever.
func TestR110Leaving(t *testing.T) {
	t.Parallel()
	t.Run("twin/the batch reads the selection, and goes on", func(t *testing.T) {
		t.Parallel()
		pool := database(t, naiveSelection, `INSERT INTO selection VALUES (7), (8)`)
		batch, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, batch, `INSERT INTO here SELECT 'young', scope FROM selection WHERE scope = 7`)
		execute(t, pool, `DELETE FROM selection WHERE scope = 7;
			DELETE FROM here WHERE scope NOT IN (SELECT scope FROM selection)`)
		if err := batch.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, pool, `SELECT key FROM here`); got != "young" {
			t.Errorf("here is %q; want what has left, for that is what goes wrong", got)
		}
	})
	t.Run("twin/a page is applied as it was read", func(t *testing.T) {
		t.Parallel()
		pool := database(t, naiveSelection, `INSERT INTO selection VALUES (7), (8); INSERT INTO resources VALUES ('young', 7)`)
		page := lines(t, pool, `SELECT key FROM resources WHERE scope IN (SELECT scope FROM selection)`)
		execute(t, pool, `DELETE FROM selection WHERE scope = 7;
			DELETE FROM here WHERE scope NOT IN (SELECT scope FROM selection)`)
		execute(t, pool, `INSERT INTO here VALUES ('`+page+`', 7)`)
		if got := lines(t, pool, `SELECT key FROM here`); got != "young" {
			t.Errorf("here is %q; want what has left, for that is what goes wrong", got)
		}
	})
	t.Run("ours/the change waits for the batch", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		s.reconciler(t, s.source, newPoints())
		applied := s.batch.stopAt("batch:applied")
		execute(t, s.source, `INSERT INTO resources VALUES ('young', 7)`)
		s.tick(t)
		applied.wait(t)
		changed := s.selecting(t, "8")
		s.waiting(t, "1")
		applied.release()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.applied(t)
		s.wantRows(t, "old7 removing\nold8 synced\nyoung removing")
	})
	t.Run("ours/the batch waits for the change", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		s.reconciler(t, s.source, newPoints())
		goOn := s.stopSelecting(t)
		changed := s.selecting(t, "8")
		s.waiting(t, "1")
		execute(t, s.source, `INSERT INTO resources VALUES ('young', 7), ('young8', 8)`)
		s.tick(t)
		s.waiting(t, "2")
		goOn()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.applied(t)
		s.until(t, "the batch", reconcileRows, "old7 removing\nold8 synced\nyoung8 pending")
	})
	t.Run("ours/the change waits for the page", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		s.untold(t, "young", "7")
		page := newPoints()
		applied := page.stopAt("reconcile:applied")
		s.reconcile(t, s.source, page)
		applied.wait(t)
		changed := s.selecting(t, "8")
		s.waiting(t, "1")
		applied.release()
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		s.applied(t)
		s.wantRows(t, "old7 removing\nold8 synced\nyoung removing")
	})
	t.Run("ours/a page of before", func(t *testing.T) {
		t.Parallel()
		s := newSelectiveSite(t, "7", "8")
		s.untold(t, "young", "7")
		frozen := newPoints()
		compared := frozen.stopAt("reconcile:compared")
		s.reconcile(t, s.source, frozen)
		compared.wait(t)
		s.selects(t, "8")
		s.reconciler(t, s.source, newPoints()) // another worker
		s.until(t, "the run that applies it", `SELECT (finished_at IS NOT NULL)::text FROM casq.reconcile_runs WHERE reason = 'selected'`, "true")
		s.wantRows(t, "old7 removing\nold8 synced")
		compared.release()
		s.applied(t)
		s.wantRows(t, "old7 removing\nold8 synced")
	})
}

// untold puts a resource there of which the log does not tell.
func (s *selectiveSite) untold(t *testing.T, key, scope string) {
	t.Helper()
	execute(t, s.source, `SELECT casq.untrack('resources'); INSERT INTO resources VALUES ('`+key+`', `+scope+`);
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', scope_column => 'scope')`)
	s.tick(t)
}
