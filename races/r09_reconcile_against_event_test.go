package races

import (
	"errors"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestR09ReconcileAgainstEvent: a comparison finds a resource without a row, and is
// about to insert it exactly while the cursor inserts it, for its event has just
// come. One of the two waits for the other's row. It must not fail on it, for
// then the rest of its page, or of its batch, would be lost; and it must not
// write over what is newer. One row, one job that counts.
func TestR09ReconcileAgainstEvent(t *testing.T) {
	t.Parallel()
	t.Run("twin/look, then insert", func(t *testing.T) {
		t.Parallel()
		pool := database(t, `CREATE TABLE naive (key text PRIMARY KEY)`)
		batch, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, batch, `INSERT INTO naive VALUES ('both')`)
		page := make(chan error, 1)
		go func() {
			// The look does not show what has not been committed.
			_, err := pool.Exec(t.Context(), `INSERT INTO naive SELECT key FROM (VALUES ('both'), ('other')) AS page (key)
				WHERE NOT EXISTS (SELECT FROM naive WHERE naive.key = page.key)`)
			page <- err
		}()
		s := &reconcileSite{home: pool}
		s.until(t, "the page's wait", r09Waits, "1")
		if err := batch.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		var failed *pgconn.PgError
		if err := <-page; !errors.As(err, &failed) || failed.Code != "23505" {
			t.Fatalf("the page ended with %v; want it to fail, for that is what goes wrong", err)
		}
		if got := lines(t, pool, `SELECT key FROM naive`); got != "both" {
			t.Errorf("got %q; want the rest of the page to be lost", got)
		}
	})
	t.Run("twin/the last one wins", func(t *testing.T) {
		t.Parallel()
		pool := database(t, `CREATE TABLE naive (key text PRIMARY KEY, payload text)`)
		batch, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, batch, `INSERT INTO naive VALUES ('both', 'newer, of the event')`)
		page := make(chan error, 1)
		go func() {
			_, err := pool.Exec(t.Context(), `INSERT INTO naive VALUES ('both', 'older, of the page'), ('other', '')
				ON CONFLICT (key) DO UPDATE SET payload = excluded.payload`)
			page <- err
		}()
		s := &reconcileSite{home: pool}
		s.until(t, "the page's wait", r09Waits, "1")
		if err := errors.Join(batch.Commit(t.Context()), <-page); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, pool, `SELECT payload FROM naive WHERE key = 'both'`); got != "older, of the page" {
			t.Errorf("got %q; want the older one, for that is what goes wrong", got)
		}
	})
	t.Run("ours/the page waits", func(t *testing.T) {
		t.Parallel()
		r := newR09(t)
		compared, applied := r.page.stopAt("reconcile:compared"), r.batch.stopAt("batch:applied")
		r.reconcile(t, r.source, r.page)
		compared.wait(t)
		r.change(t)
		applied.wait(t)
		compared.release()
		r.until(t, "the page's wait", r09Waits, "1")
		applied.release()
		r.wantBoth(t, "created 1, changed 0, removed 0, late 1")
	})
	t.Run("ours/the batch waits", func(t *testing.T) {
		t.Parallel()
		r := newR09(t)
		applied := r.page.stopAt("reconcile:applied")
		r.reconcile(t, r.source, r.page)
		applied.wait(t)
		r.change(t)
		r.until(t, "the batch's wait", r09Waits, "1")
		applied.release()
		r.wantBoth(t, "created 2, changed 0, removed 0, late 0")
	})
}

const r09Waits = `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`

type r09 struct {
	*reconcileSite
	page, batch *points
}

// newR09 has resources of which the log has never told: what it has on its way is left
// to it.
func newR09(t *testing.T) *r09 {
	t.Helper()
	r := &r09{newReconcileSite(t, testdb.New(t).URL, ""), newPoints(), newPoints()}
	execute(t, r.source, `SELECT casq.untrack('resources'); INSERT INTO resources VALUES ('before'), ('both'), ('other');
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key')`)
	r.follow(t, r.batch)
	t.Cleanup(r.batch.releaseAll)
	r.tick(t)
	r.until(t, "the cursor's start", `SELECT (count(*) = 1)::text FROM casq.cursors WHERE tick >= 0`, "true")
	execute(t, r.source, `SELECT casq.append_event('resource', 'before', 'created')`)
	r.tick(t)
	r.until(t, "the log's reading", reconcileRows, "before pending")
	return r
}

// change has the log tell of two of them, from now on.
func (r *r09) change(t *testing.T) {
	t.Helper()
	execute(t, r.source, `SELECT casq.append_event('resource', key, 'updated') FROM resources WHERE key < 'other'`)
	r.tick(t)
}

func (r *r09) wantBoth(t *testing.T, counts string) {
	t.Helper()
	r.until(t, "the run", reconcileFinished, "finished")
	r.until(t, "the rows", reconcileRows, "before pending\nboth pending\nother pending")
	r.until(t, "a job of the newest version for each", reconcileJobs, "before 1\nboth 1\nother 1")
	if got := lines(t, r.home, `SELECT (event_id > 0)::text FROM casq.registry WHERE resource_id = 'both'`); got != "true" {
		t.Error("the event did not win")
	}
	if got := lines(t, r.home, reconcileCounts); got != counts {
		t.Errorf("report %q, want %q", got, counts)
	}
	if got := lines(t, r.home, `SELECT waiting FROM casq.reconcile_runs WHERE waiting IS NOT NULL`); got != "" {
		t.Error(got)
	}
}
